"""The streams of one process, and what wakes them.

A commit with events reaches every process as a notice that names the vault: on PostgreSQL as a notification, on
SQLite, which serves one process, by a call after the commit. A notice leads to one read for all streams of the vault
that stand at its head, however many they are and however many notices came meanwhile. Numbers become visible in the
order of commits (`service.record`), so what follows the last number read is complete. Nothing is polled but one
slow look at all vaults at once, for notices that got lost.
"""

import asyncio
import contextlib
import contextvars
import uuid
from collections.abc import Collection

import structlog

from app.core.clock import Clock
from app.core.db import Database
from app.core.errors import Unavailable
from app.core.metrics import EVENT_READS, EVENT_STREAMS
from app.events import frames, queries
from app.events.listener import Listener
from app.events.queries import Stretch
from app.events.rules import EVERYTHING, Selection
from app.events.service import ON_COMMIT, Place
from app.events.stream import Stream, Write
from app.events.window import Window
from app.vocabulary import EventType

TICK_SECONDS = 1
CHECK_SECONDS = 30
"""Between two looks for lost notices, deleted vaults and tokens that are no longer valid."""
PAGE = 500
CONCURRENT_READS = 2
"""Each for vaults that have news and for streams that are behind: streams must not use up the connection pool."""

log = structlog.get_logger("muster.events")


class Channel:
    """One vault that somebody follows."""

    def __init__(self, vault_id: uuid.UUID, head: int) -> None:
        self.vault_id = vault_id
        self.window = Window(head)
        self.streams: set[Stream] = set()
        self.is_stale = False
        """Whether there may be events that were not read."""
        self.reading: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Have every stream look at the window."""
        for stream in self.streams:
            stream.wake()


class EventHub:
    """Joins streams with their vaults' news. One for each process."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.is_stopped = False
        self._database = database
        self._clock = clock
        self._channels: dict[uuid.UUID, Channel] = {}
        self._next_check = clock.monotonic() + CHECK_SECONDS
        self._head_reads = asyncio.Semaphore(CONCURRENT_READS)
        self._own_reads = asyncio.Semaphore(CONCURRENT_READS)
        self._listener: Listener | None = None
        if database.is_sqlite:
            database.session_info[ON_COMMIT] = self.notice
        else:
            self._listener = Listener(database, self.notice, self._look_for_news)

    def stream(self, vault_id: uuid.UUID, token_id: uuid.UUID, selection: Selection, place: Place) -> Stream:
        """A stream to `follow`, for the holder of a token. Raises Unavailable when the process is about to stop."""
        if self.is_stopped:
            raise Unavailable("this process is about to stop; connect again", headers={"Retry-After": "1"})
        return Stream(vault_id, token_id, selection, place, self._clock)

    async def follow(self, stream: Stream, write: Write) -> None:
        """Send a stream's events by `write` until it ends. Raises CursorExpired when it can't go on without a gap."""
        if self.is_stopped:
            return
        channel = self._join(stream)
        EVENT_STREAMS.inc()
        try:
            await stream.run(channel.window, self._read, write)
        finally:
            EVENT_STREAMS.dec()
            self._leave(stream, channel)

    def notice(self, vault_ids: Collection[uuid.UUID]) -> None:
        """These vaults have new events, which are committed."""
        for vault_id in vault_ids:
            channel = self._channels.get(vault_id)
            if channel is not None:
                self._read_news(channel)

    async def tick(self) -> None:
        """Send what is due, try again what failed, now and then check everything. To be called about every second."""
        now = self._clock.monotonic()
        for channel in list(self._channels.values()):
            for stream in list(channel.streams):
                stream.tick(now)
            if channel.is_stale:
                self._read_news(channel)
        if now < self._next_check:
            return
        self._next_check = now + CHECK_SECONDS
        for channel in self._channels.values():
            channel.window.age()
        await self._look_for_news()
        await self._check_rights()

    def stop(self) -> None:
        """End every stream now, and each that is begun from here on. Clients connect again, elsewhere."""
        self.is_stopped = True
        for channel in self._channels.values():
            for stream in channel.streams:
                stream.stop()

    async def close(self) -> None:
        """Stop, and let go of all connections."""
        self.stop()
        for channel in list(self._channels.values()):
            if channel.reading is not None:
                channel.reading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await channel.reading
        if self._listener is not None:
            await self._listener.close()

    def _join(self, stream: Stream) -> Channel:
        if self._listener is not None:
            self._listener.start()
        channel = self._channels.get(stream.vault_id)
        if channel is None:
            channel = self._channels[stream.vault_id] = Channel(stream.vault_id, stream.head)
            # What was committed between the stream's first look and here was announced to nobody.
            self._read_news(channel)
        channel.streams.add(stream)
        return channel

    def _leave(self, stream: Stream, channel: Channel) -> None:
        channel.streams.discard(stream)
        if not channel.streams and self._channels.get(channel.vault_id) is channel:
            del self._channels[channel.vault_id]

    def _read_news(self, channel: Channel) -> None:
        channel.is_stale = True
        if channel.reading is None and not self.is_stopped:
            # Not in the context of the request or transaction that happened to cause it.
            channel.reading = asyncio.create_task(self._read_channel(channel), context=contextvars.Context())

    async def _read_channel(self, channel: Channel) -> None:
        try:
            while channel.is_stale:
                channel.is_stale = False
                async with self._head_reads:
                    if self._channels.get(channel.vault_id) is not channel:
                        return
                    EVENT_READS.labels("head").inc()
                    async with self._database.read() as session:
                        stretch = await queries.read_after(session, channel.vault_id, channel.window.head, PAGE)
                self._publish(channel, stretch)
        except Unavailable:
            channel.is_stale = True  # the next tick tries again
        except Exception as error:
            channel.is_stale = True
            log.error("can't read the events of a vault", vault=str(channel.vault_id), exc_info=error)
        finally:
            channel.reading = None

    def _publish(self, channel: Channel, stretch: Stretch) -> None:
        before = channel.window.head
        entries = [frames.entry_of(row) for row in stretch.events]
        is_whole = len(entries) < PAGE
        channel.window.extend(entries, stretch.last if is_whole else 0)
        if any(entry.type == EventType.VAULT_DELETED for entry in entries):
            channel.window.is_closed = True
        channel.is_stale = channel.is_stale or not is_whole
        if channel.window.head > before:
            channel.wake()

    async def _read(self, vault_id: uuid.UUID, after: int, limit: int, selection: Selection = EVERYTHING) -> Stretch:
        """For a stream that is behind."""
        async with self._own_reads:
            EVENT_READS.labels("behind").inc()
            async with self._database.read() as session:
                return await queries.read_after(session, vault_id, after, limit, selection)

    async def _look_for_news(self) -> None:
        """Make up for notices that got lost, with one statement for all vaults."""
        heads = {vault_id: channel.window.head for vault_id, channel in self._channels.items()}
        if not heads:
            return
        EVENT_READS.labels("check").inc()
        async with self._database.read() as session:
            last = await queries.last_numbers(session, heads)
        for vault_id, head in heads.items():
            channel = self._channels.get(vault_id)
            if channel is None or last.get(vault_id, 0) == head:
                continue
            if last.get(vault_id, 0) > head:
                self._read_news(channel)
                continue
            # A failover that lost commits, or a restored backup: numbers that clients have seen come again.
            log.warning("the record of a vault was set back", vault=str(vault_id), seen=head, last=last.get(vault_id))
            del self._channels[vault_id]
            for stream in channel.streams:
                stream.end()

    async def _check_rights(self) -> None:
        """End the streams of deleted vaults and of tokens that are no longer valid."""
        streams = [stream for channel in self._channels.values() for stream in channel.streams]
        if not streams:
            return
        EVENT_READS.labels("check").inc()
        async with self._database.read() as session:
            vaults = await queries.existing_vaults(session, {stream.vault_id for stream in streams})
            tokens = await queries.valid_tokens(session, {stream.token_id for stream in streams}, self._clock.now())
        for stream in streams:
            if stream.vault_id not in vaults or stream.token_id not in tokens:
                stream.end()
