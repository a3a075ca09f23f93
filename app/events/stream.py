"""One client that follows a vault's record."""

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Sequence

import structlog

from app.core.clock import Clock
from app.core.errors import Unavailable
from app.core.metrics import EVENTS_STREAMED
from app.events import frames
from app.events.frames import Entry
from app.events.queries import Stretch
from app.events.rules import Selection, is_expired
from app.events.service import Place, expired
from app.events.window import Window

BATCH = 100
"""Events sent, or read for one stream, at once. With a stalled client it bounds what its stream holds."""
KEEP_ALIVE_SECONDS = 15
STALL_SECONDS = 60
"""After which a client that takes nothing is dropped."""
TELL_EVERY = 100
"""Events that were not asked for until the client's `Last-Event-ID` is moved past them, if nothing else is sent."""
RETRY_MILLISECONDS = (2_000, 5_000)
"""Range of the pause before a client connects again; it varies, so that not all of a stopped process come at once."""

Write = Callable[[bytes], Awaitable[None]]
Read = Callable[[uuid.UUID, int, int, Selection], Awaitable[Stretch]]
"""Reads what follows a number: of which vault, after which number, how many at the most, of which kind."""

log = structlog.get_logger("muster.events")


class Stream:
    """A client's place in the record. It keeps positions and no events, so a slow client costs no memory.

    `run` sends what the window has; where that does not reach back so far it reads for itself. Everything that
    happens elsewhere (new events, time, the end) sets a flag and wakes it.
    """

    def __init__(
        self, vault_id: uuid.UUID, token_id: uuid.UUID, selection: Selection, place: Place, clock: Clock
    ) -> None:
        self.vault_id = vault_id
        self.token_id = token_id
        self.position = place.position
        """Every event up to here was sent, or not asked for."""
        self.head = place.head
        self.is_dropped = False
        """Whether the client was given up because it took nothing."""
        self._selection = selection
        self._clock = clock
        self._told = place.position
        self._wake = asyncio.Event()
        self._is_ended = False
        self._is_due = False
        self._is_waiting_for_database = False
        self._sent_at = clock.monotonic()
        self._sending_since: float | None = None
        self._limit: asyncio.Timeout | None = None

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def end(self) -> None:
        """Have `run` return after what it is sending."""
        self._is_ended = True
        self._wake.set()

    def stop(self) -> None:
        """Have `run` return now, also where it waits for the client to take something."""
        self.end()
        if self._sending_since is not None:
            self._drop()

    def tick(self, now: float) -> None:
        """Look at the time, `now` being the clock's monotonic seconds."""
        if self._sending_since is not None:
            if now - self._sending_since >= STALL_SECONDS:
                log.info("dropped an event stream whose client takes nothing", vault=str(self.vault_id))
                self._drop()
            return
        if now - self._sent_at >= KEEP_ALIVE_SECONDS:
            self._is_due = True
            self._wake.set()
        if self._is_waiting_for_database:
            self._wake.set()

    async def run(self, window: Window, read: Read, write: Write) -> None:
        """Send until the end. Raises CursorExpired when the next events were deleted before they were sent."""
        try:
            async with asyncio.timeout(None) as self._limit:
                await self._send(write, frames.opening(self.position, random.randint(*RETRY_MILLISECONDS)))  # noqa: S311
                await self._follow(window, read, write)
        except TimeoutError:
            if not self.is_dropped:
                raise
        finally:
            self._limit = None

    async def _follow(self, window: Window, read: Read, write: Write) -> None:
        while True:
            # First of all: what happens from here on is seen by this round or ends its wait.
            self._wake.clear()
            if self._is_ended:
                return
            entries = window.after(self.position, BATCH)
            if entries is None:
                await self._catch_up(read, write)
            elif entries:
                chosen = [entry for entry in entries if self._wants(entry)]
                await self._deliver(chosen, entries[-1].sequence, write)
            elif window.is_closed:
                return
            else:
                await self._idle(write)

    async def _catch_up(self, read: Read, write: Write) -> None:
        self._is_waiting_for_database = False
        try:
            stretch = await read(self.vault_id, self.position, BATCH, self._selection)
        except Unavailable:
            # Not the end: a browser gives up for good when it then gets a 503.
            self._is_waiting_for_database = True
            await self._idle(write)
            return
        if is_expired(self.position, stretch.oldest_kept):
            raise expired(self.position, stretch.oldest_kept)
        entries = [frames.entry_of(row) for row in stretch.events]
        reached = entries[-1].sequence if len(entries) == BATCH else stretch.last
        if reached <= self.position:
            await self._idle(write)
            return
        await self._deliver(entries, reached, write)

    def _wants(self, entry: Entry) -> bool:
        return self._selection.matches(entry.type, entry.severity, entry.resource_id, entry.resource_name)

    async def _deliver(self, entries: Sequence[Entry], reached: int, write: Write) -> None:
        """Send `entries`, after which nothing that was asked for follows up to number `reached`."""
        chunk = b"".join(entry.frame for entry in entries)
        if entries:
            self._told = entries[-1].sequence
        if reached - self._told >= (1 if entries else TELL_EVERY):
            chunk += frames.advance(reached)
            self._told = reached
        self.position = reached
        if chunk:
            EVENTS_STREAMED.inc(len(entries))
            await self._send(write, chunk)

    async def _idle(self, write: Write) -> None:
        """With nothing to send: wait, or show that the stream lives where that is due."""
        if not self._is_due:
            await self._wake.wait()
            return
        is_behind = self.position > self._told
        self._told = self.position
        await self._send(write, frames.keep_alive(self.position if is_behind else None))

    async def _send(self, write: Write, chunk: bytes) -> None:
        self._sending_since = self._clock.monotonic()
        try:
            await write(chunk)
        finally:
            self._sending_since = None
            self._sent_at = self._clock.monotonic()
            self._is_due = False

    def _drop(self) -> None:
        if self._limit is not None and not self.is_dropped:
            self.is_dropped = True
            self._limit.reschedule(asyncio.get_running_loop().time())
