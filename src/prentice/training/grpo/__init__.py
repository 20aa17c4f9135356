"""Reinforcement on the environment."""
