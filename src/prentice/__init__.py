"""prentice turns a job that a large language model does today into a small model that you own."""

__version__ = "0.1.0"
