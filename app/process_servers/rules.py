"""Rules of process servers: pure, no database, no clock."""

from datetime import datetime


def is_in_maintenance(is_drained: bool, until: datetime | None, now: datetime) -> bool:
    """Whether a server is drained at `now`: maintenance without an end lasts until it is ended."""
    return is_drained and (until is None or now < until)
