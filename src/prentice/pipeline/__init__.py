"""The only place that knows all the stages in order."""

from prentice.pipeline.project import Project, ProjectConfig
from prentice.pipeline.stages import STAGES, Context
from prentice.pipeline.walk import Outcome, run, run_stage, states

__all__ = ["STAGES", "Context", "Outcome", "Project", "ProjectConfig", "run", "run_stage", "states"]
