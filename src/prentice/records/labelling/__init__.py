"""People's words on stored episodes: one after another (`session`), or many at once on a sheet."""
