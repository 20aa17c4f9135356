"""The configurations of this folder, apart from the code that they configure: reading them must not load torch."""
