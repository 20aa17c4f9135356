"""Task × policy → episodes."""

from prentice.rollouts.config import SHAPE_REPLIES, RolloutConfig
from prentice.rollouts.plan import Plan, plan, run_id
from prentice.rollouts.play import Rules, play
from prentice.rollouts.rollout import play_all, rollout

__all__ = ["SHAPE_REPLIES", "Plan", "RolloutConfig", "Rules", "plan", "play", "play_all", "rollout", "run_id"]
