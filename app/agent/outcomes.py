"""What becomes of heartbeats, and why sending them ends."""

import enum
from dataclasses import dataclass

from .state import Json


class Outcome(enum.Enum):
    """What became of one try of a heartbeat."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"  # this heartbeat will not be taken; the next one may be
    FAILED = "failed"  # no answer, or one that asks for another try
    CREDENTIAL_REFUSED = "credential-refused"
    PURGED = "purged"


class ExitReason(enum.Enum):
    """Why ``Agent.run`` has returned."""

    STOPPED = "stopped"
    CREDENTIAL_REFUSED = "credential-refused"
    PURGED = "purged"
    DECOMMISSIONED = "decommissioned"


@dataclass(frozen=True)
class Beat:
    """One try of a heartbeat: its outcome, and after how many seconds the next try is due."""

    outcome: Outcome
    sequence: int
    delay_seconds: float
    detail: str
    answer: Json | None = None
