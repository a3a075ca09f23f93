"""The outbox at work: events become deliveries, deliveries are sent, ended ones are forgotten."""

import asyncio
import contextlib
import uuid
from collections import Counter
from datetime import timedelta

from app.core.clock import Clock
from app.core.db import Database
from app.core.metrics import DELIVERY_QUEUE
from app.core.settings import Settings
from app.models import NotificationChannel, NotificationDelivery
from app.notifications import outbox, queries
from app.notifications.attempts import Attempts
from app.vocabulary import ChannelKind

LEASE = timedelta(seconds=90)
"""Longer than any attempt takes: who has not recorded one by then has died, and somebody else makes the next."""

PARALLEL_DELIVERIES = 32
PARALLEL_DELIVERIES_PER_CHANNEL = 4
LOOK_SECONDS = 1.0
"""How long slow receivers keep the sender from looking for others' deliveries."""

DELETIONS_PER_TRANSACTION = 500


class Dispatcher:
    """Turns events into deliveries, a channel a transaction. Any number of replicas may do so at once."""

    def __init__(self, database: Database, clock: Clock, settings: Settings) -> None:
        self._database = database
        self._clock = clock
        self._settings = settings

    async def tick(self) -> int:
        """Bring every channel up to date, as far as its window allows. Returns how many deliveries were written."""
        async with self._database.read() as session:
            behind = await queries.channels_behind(session)
        written = 0
        for channel_id in behind:
            while (count := await self._turn(channel_id)) is not None:
                written += count
        return written

    async def _turn(self, channel_id: uuid.UUID) -> int | None:
        async with self._database.write() as session:
            claimed = await queries.claim_channel(session, channel_id)
            if claimed is None:
                return None
            channel, vault = claimed
            return await outbox.turn(session, channel, vault, self._settings, self._clock.now())


class Deliverer:
    """Sends what is due. A receiver that hangs holds up its own deliveries and nobody else's."""

    def __init__(self, database: Database, clock: Clock, attempts: Attempts) -> None:
        self._database = database
        self._clock = clock
        self._attempts = attempts

    async def tick(self) -> int:
        """Send until nothing is due and nothing is under way. Returns how many attempts were made."""
        under_way: dict[asyncio.Task[None], uuid.UUID] = {}
        made = 0
        try:
            while True:
                for channel, delivery in await self._claim(Counter(under_way.values())):
                    task = asyncio.create_task(self._attempts.make(channel, delivery))
                    under_way[task] = channel.id
                    made += 1
                if not under_way:
                    return made
                done, _ = await asyncio.wait(under_way, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    del under_way[task]
                    task.result()
        finally:
            for task in under_way:
                task.cancel()
            for task in under_way:
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _claim(self, busy: Counter[uuid.UUID]) -> list[tuple[NotificationChannel, NotificationDelivery]]:
        """Take as much as there are places. A failing channel gets one, so that many such leave room for the others."""
        free = PARALLEL_DELIVERIES - busy.total()
        now = self._clock.now()
        async with self._database.read() as session:
            pending = await queries.count_pending(session)
            found = await queries.channels_with_due(session, now) if pending else []
        for kind in ChannelKind:
            DELIVERY_QUEUE.labels(channel=kind.value).set(pending.get(kind.value, 0))
        wanted: dict[uuid.UUID, int] = {}
        for channel_id, is_failing in found:
            limit = 1 if is_failing else PARALLEL_DELIVERIES_PER_CHANNEL
            share = min(limit - busy[channel_id], free)
            if share > 0:
                wanted[channel_id] = share
                free -= share
        if not wanted:
            return []
        async with self._database.write() as session:
            return await queries.claim_due(session, wanted, now, LEASE)


class DeliveryRetention:
    """Forgets deliveries that ended long ago, in small transactions."""

    def __init__(self, database: Database, clock: Clock, settings: Settings) -> None:
        self._database = database
        self._clock = clock
        self._retention = timedelta(days=settings.delivery_retention_days)

    async def tick(self) -> int:
        """Delete what has ended before the retention. Returns how many."""
        moment = self._clock.now() - self._retention
        total = 0
        while True:
            async with self._database.write() as session:
                deleted = await queries.delete_ended_before(session, moment, DELETIONS_PER_TRANSACTION)
            total += deleted
            if deleted < DELETIONS_PER_TRANSACTION:
                return total
