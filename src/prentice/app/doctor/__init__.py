"""What prentice finds on this machine, and the next step. It looks only: nothing is fetched or changed."""

from prentice.app.doctor.examine import examine
from prentice.app.doctor.findings import Diagnosis, Finding, State

__all__ = ["Diagnosis", "Finding", "State", "examine"]
