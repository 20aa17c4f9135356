"""Reinforcement on the environment (GRPO): tries of one case are compared, and the better ones become likelier."""
