"""Learning from what a larger model of the same vocabulary thinks."""
