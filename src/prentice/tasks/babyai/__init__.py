"""BabyAI as a text game: walk through a grid world by words, one action a turn, until the instruction is carried out.

`words.py` says what the agent sees, `paths.py` how far it still has to go, `world.py` keeps a level in motion,
`policies.py` holds the reference policies, `task.py` puts it together.
"""

from prentice.tasks.babyai.task import BabyAI, BabyAIConfig

__all__ = ["BabyAI", "BabyAIConfig"]
