"""Customer service with tools: τ²-bench's retail and airline desks (Barres et al. 2025, arXiv:2506.07982)."""

from prentice.tasks.retail.task import Retail, RetailConfig

__all__ = ["Retail", "RetailConfig"]
