"""The agent's only source of time, so that hours of outage can be simulated in no time."""

import asyncio
import time
from datetime import datetime, timezone
from typing import Protocol


class Clock(Protocol):
    """What the agent asks of time."""

    def monotonic(self) -> float:
        """Return seconds since some fixed moment; never goes back."""
        ...

    def now(self) -> datetime:
        """Return the wall clock's time, aware and in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds."""
        ...


class SystemClock:
    """The clock of the machine."""

    def monotonic(self) -> float:
        """Return seconds since some fixed moment; never goes back."""
        return time.monotonic()

    def now(self) -> datetime:
        """Return the wall clock's time, aware and in UTC."""
        return datetime.now(timezone.utc)  # noqa: TID251 - the agent can not import the control plane's clock

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds."""
        await asyncio.sleep(seconds)


def rfc3339(moment: datetime) -> str:
    """Return an aware time as RFC 3339 in UTC with seconds, ending in ``Z``."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_rfc3339(text: str) -> datetime:
    """Return the aware UTC time that ``text`` names. Raises ValueError if it names none."""
    # fromisoformat reads the letter Z only from Python 3.11 on.
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"time without zone: {text!r}")
    return moment.astimezone(timezone.utc)
