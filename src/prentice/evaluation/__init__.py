"""Task × policies → report and verdict: statistics, cost, plots. Plays no episodes itself."""

from prentice.evaluation.compare import EvaluateConfig, Scale, compare, scale_recorded
from prentice.evaluation.page import render_page, write_report
from prentice.evaluation.plots import success_cost_plot
from prentice.evaluation.terminal import terminal_table

__all__ = [
    "EvaluateConfig",
    "Scale",
    "compare",
    "render_page",
    "scale_recorded",
    "success_cost_plot",
    "terminal_table",
    "write_report",
]
