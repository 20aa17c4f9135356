"""Episodes of others → what they cost, what a small model could take over, and when that pays. Plays nothing."""

from prentice.estimation.breakeven import Assumptions, BreakEven, Outlook, break_even, parse_assumptions
from prentice.estimation.estimate import Estimate, EstimateConfig, FunctionEstimate, estimate
from prentice.estimation.gaps import Gap
from prentice.estimation.outputs import Frequent, Outputs
from prentice.estimation.pricing import Priced, parse_prices
from prentice.estimation.prompts import Prompts
from prentice.estimation.spending import Spent

__all__ = [
    "Assumptions",
    "BreakEven",
    "Estimate",
    "EstimateConfig",
    "Frequent",
    "FunctionEstimate",
    "Gap",
    "Outlook",
    "Outputs",
    "Priced",
    "Prompts",
    "Spent",
    "break_even",
    "estimate",
    "parse_assumptions",
    "parse_prices",
]
