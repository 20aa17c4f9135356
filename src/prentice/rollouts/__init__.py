"""Task × policy → episodes."""

from prentice.rollouts.play import play
from prentice.rollouts.rollout import Plan, RolloutConfig, plan, play_all, rollout, run_id

__all__ = ["Plan", "RolloutConfig", "plan", "play", "play_all", "rollout", "run_id"]
