"""The newest events of one vault, read once for all of its streams."""

from collections import deque
from collections.abc import Sequence
from itertools import islice

from app.events.frames import Entry

CAPACITY = 500
"""Events kept at the most; who is further behind reads for itself."""


class Window:
    """Consecutive events up to `head`, the last number that was read.

    Streams keep only their position and look here for what follows it, so a slow one holds nothing back.
    """

    def __init__(self, head: int) -> None:
        self.head = head
        self.is_closed = False
        """Whether nothing follows: the vault was deleted."""
        self._entries: deque[Entry] = deque(maxlen=CAPACITY)
        self._fresh = 0

    def extend(self, entries: Sequence[Entry], last: int) -> None:
        """Take over what followed `head`, all up to number `last`. What was deleted before it was read is a gap."""
        for entry in entries:
            if entry.sequence != self.head + 1:
                self._entries.clear()
            self._entries.append(entry)
            self.head = entry.sequence
        self._fresh += len(entries)
        if last > self.head:
            self._entries.clear()
            self.head = last

    def after(self, position: int, limit: int) -> Sequence[Entry] | None:
        """Up to `limit` events that follow `position`; None where the window does not reach back so far."""
        ahead = self.head - position
        if ahead <= 0:
            return ()
        if ahead > len(self._entries):
            return None
        first = len(self._entries) - ahead
        return list(islice(self._entries, first, first + limit))

    def age(self) -> None:
        """Let go of what was here already at the last call: an idle vault costs no memory."""
        while len(self._entries) > self._fresh:
            self._entries.popleft()
        self._fresh = 0
