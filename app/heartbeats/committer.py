"""Group commit: while batches commit, the next gathers.

The rules of this machine:
- A heartbeat is answered with 200 only after the transaction that holds it is durable.
- There is no delay: a lone heartbeat commits at once, and the busier the server, the larger the batch. On
  PostgreSQL a second batch may be in flight beside the first, so that a slow disk holds up fewer; it waits until
  it is worth a commit of its own, since many small commits cost more than they gain.
- A heartbeat fails alone: a wrong credential matches no row, and a batch with one that can't be stored is
  tried again one by one.
- The database may go away. Waiting heartbeats then get 503 with Retry-After, and the next batch reconnects.
"""

import asyncio
import operator
import random
import time
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol, cast

import structlog

from app.core.clock import Clock
from app.core.db import Database, held
from app.core.errors import Internal, MusterError, Overloaded, Unavailable
from app.core.metrics import (
    HEARTBEAT_BATCH_SIZE,
    HEARTBEAT_COMMIT_SECONDS,
    HEARTBEAT_QUEUE,
    HEARTBEATS_ACCEPTED,
    HEARTBEATS_REFUSED,
)
from app.core.settings import Settings
from app.core.tracing import span
from app.core.wire import rfc3339
from app.health.service import terms_of
from app.heartbeats.beats import Accepted, Beat, Outcome, newest_of
from app.heartbeats.schemas import DesiredState
from app.heartbeats.service import desired_states, settle
from app.heartbeats.writers import HELD, Writer
from app.hosts.schemas import Notice

MAX_RETRY_AFTER_SECONDS = 10
WORTH_ANOTHER_COMMIT = 16
log = structlog.get_logger("muster.heartbeats")

_Key = tuple[str, bytes]
_host_of = operator.attrgetter("host")


class Answer(NamedTuple):
    """What a stored heartbeat is answered with."""

    server_time: str
    """RFC 3339; written once for the whole batch."""
    generation: int
    desired: DesiredState | None
    notices: tuple[Notice, ...]


class Reply(Protocol):
    """Where a heartbeat's answer goes: a future, or the connection itself."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, answer: Answer, /) -> None:
        """The heartbeat is durable."""

    def set_exception(self, error: Exception, /) -> None:
        """The heartbeat was refused or could not be stored."""


_Waiting = tuple[Beat, Reply]


class Committer:
    """Takes heartbeats in and answers each once it is durable."""

    def __init__(self, database: Database, writers: Sequence[Writer], clock: Clock, settings: Settings) -> None:
        self._database = database
        self._writers = tuple(writers)
        self._idle = list(writers)
        self._clock = clock
        self._terms = terms_of(settings)
        self._queue_size = settings.heartbeat_queue_size
        self._batch_size = settings.heartbeat_batch_size
        self._waiting: list[_Waiting] = []
        self._in_flight: set[asyncio.Task[None]] = set()
        self._is_dispatch_due = False
        self._is_stopping = False

    async def stop(self) -> None:
        """Commit and answer what is queued, then let the connections go. Repeating it does nothing."""
        if self._is_stopping:
            return
        self._is_stopping = True
        self._dispatch()
        while self._in_flight:
            await asyncio.wait(self._in_flight)
        for writer in self._writers:
            await writer.close()

    def submit(self, beat: Beat, reply: Reply) -> None:
        """Queue a heartbeat. `reply` gets its answer or its error. Raises Overloaded when the queue is full."""
        if len(self._waiting) >= self._queue_size or self._is_stopping:
            HEARTBEATS_REFUSED.labels("overloaded").inc()
            # Full jitter: those that are turned away now must not come back together.
            wait = random.randint(1, MAX_RETRY_AFTER_SECONDS)  # noqa: S311 - no secret
            raise Overloaded(
                f"{len(self._waiting)} heartbeats wait for the database; try again in {wait} s",
                headers={"Retry-After": str(wait)},
            )
        self._waiting.append((beat, reply))
        if not self._is_dispatch_due and self._idle:
            # Not at once: whatever else has arrived in this turn of the loop joins the batch.
            self._is_dispatch_due = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._is_dispatch_due = False
        while self._idle and len(self._waiting) >= (WORTH_ANOTHER_COMMIT if self._in_flight else 1):
            writer = self._idle.pop()
            batch, self._waiting = self._waiting[: self._batch_size], self._waiting[self._batch_size :]
            HEARTBEAT_QUEUE.set(len(self._waiting))
            self._in_flight.add(asyncio.create_task(self._carry(batch, writer), name="heartbeat batch"))

    async def _carry(self, batch: Sequence[_Waiting], writer: Writer) -> None:
        try:
            with span("heartbeat batch", heartbeats=len(batch)):
                await self._commit(batch, writer)
        except Exception as error:
            log.error("a batch of heartbeats failed", size=len(batch), exc_info=error)
            _fail(batch, Internal("the heartbeat could not be stored; the log has the reason"))
        finally:
            self._idle.append(writer)
            self._in_flight.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            self._dispatch()

    async def _commit(self, batch: Sequence[_Waiting], writer: Writer) -> None:
        started = time.perf_counter()
        beats, places = _merged(batch)
        try:
            await self._database.measure(self._clock)
            now = self._clock.now()
            outcomes = await self._store(beats, now, writer)
        except Unavailable as error:
            if self._is_stopping:
                # The end must not wait for the database once per batch that is left.
                batch, self._waiting = [*batch, *self._waiting], []
            HEARTBEATS_REFUSED.labels("unavailable").inc(len(batch))
            log.warning("heartbeats wait for the database", size=len(batch), error=error.detail)
            _fail(batch, error)
            return
        wanted = [
            beat.host_row_id
            for beat, outcome in zip(beats, outcomes, strict=True)
            if isinstance(outcome, Accepted) and outcome.generation != beat.observed_generation
        ]
        desired = await self._desired(wanted, now) if wanted else {}
        HEARTBEAT_BATCH_SIZE.observe(len(batch))
        HEARTBEAT_COMMIT_SECONDS.observe(time.perf_counter() - started)
        _answer(batch, places, outcomes, desired, now)

    async def _store(self, beats: Sequence[Beat], now: datetime, writer: Writer) -> list[Outcome]:
        try:
            generations = await writer.write(beats, now)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one beat that can't be stored must not take the others along
            log.warning("a heartbeat of the batch can't be stored; trying one by one", error=repr(error))
            return [await self._store_alone(beat, now, writer) for beat in beats]
        if None not in generations and HELD not in generations:
            return _accepted(cast("list[int]", generations))
        left_over = [beat for beat, generation in zip(beats, generations, strict=True) if generation is None]
        settled = iter(await self._settle(left_over, now))
        return [next(settled) if generation is None else _taken(generation) for generation in generations]

    async def _settle(self, beats: Sequence[Beat], now: datetime) -> list[Outcome]:
        """Those that are more than numbers: together, or one by one when one of them can't be stored."""
        try:
            async with self._database.write() as session:
                return await settle(session, beats, now, self._terms)
        except Unavailable:
            raise
        except Exception as error:
            if len(beats) == 1:
                log.error("a heartbeat can't be stored", host=beats[0].host, exc_info=error)
                return [Internal("this heartbeat can't be stored; the log has the reason")]
            return [(await self._settle([beat], now))[0] for beat in beats]

    async def _store_alone(self, beat: Beat, now: datetime, writer: Writer) -> Outcome:
        try:
            generation = (await writer.write([beat], now))[0]
        except Unavailable:
            raise
        except Exception as error:
            log.error("a heartbeat can't be stored", host=beat.host, exc_info=error)
            return Internal("this heartbeat can't be stored; the log has the reason")
        return _taken(generation) if generation is not None else (await self._settle([beat], now))[0]

    async def _desired(self, host_row_ids: Sequence[uuid.UUID], now: datetime) -> dict[uuid.UUID, DesiredState]:
        try:
            async with self._database.read() as session:
                return await desired_states(session, host_row_ids, now)
        except Exception as error:
            # The heartbeats are stored: they get their 200, and the desired state comes with the next one.
            log.error("the desired state can't be read", hosts=len(host_row_ids), exc_info=error)
            return {}


def _taken(generation: int) -> Outcome:
    return held() if generation == HELD else Accepted(generation)


def _merged(batch: Sequence[_Waiting]) -> tuple[list[Beat], list[int]]:
    """The heartbeats to store, by rising host, and for each of the batch the place of the one that stands for it.

    Of several of one host and credential the newest is stored.
    """
    hosts = [beat.host for beat, _ in batch]
    if len(set(hosts)) == len(hosts):
        order = sorted(range(len(hosts)), key=hosts.__getitem__)
        places = [0] * len(hosts)
        for place, at in enumerate(order):
            places[at] = place
        return [batch[at][0] for at in order], places
    merged: dict[_Key, Beat] = {}
    for beat, _ in batch:
        key = (beat.host, beat.digest)
        earlier = merged.get(key)
        merged[key] = beat if earlier is None else newest_of(earlier, beat)
    beats = sorted(merged.values(), key=_host_of)
    place_of = {(beat.host, beat.digest): place for place, beat in enumerate(beats)}
    return beats, [place_of[beat.host, beat.digest] for beat, _ in batch]


def _accepted(generations: Sequence[int]) -> list[Outcome]:
    """Most hosts of a batch are at few generations: one object for all that are at the same."""
    of_generation = {generation: Accepted(generation) for generation in set(generations)}
    return [of_generation[generation] for generation in generations]


def _answer(
    batch: Sequence[_Waiting],
    places: Sequence[int],
    outcomes: Sequence[Outcome],
    desired: dict[uuid.UUID, DesiredState],
    now: datetime,
) -> None:
    accepted = 0
    server_time = rfc3339(now)
    plain: dict[int, Answer] = {}
    for (beat, reply), place in zip(batch, places, strict=True):
        outcome = outcomes[place]
        if reply.done():
            continue
        if not isinstance(outcome, Accepted):
            HEARTBEATS_REFUSED.labels(outcome.code).inc()
            reply.set_exception(outcome)
            continue
        accepted += 1
        if desired and beat.host_row_id in desired:
            wanted = desired[beat.host_row_id]
            reply.set_result(Answer(server_time, outcome.generation, wanted, outcome.notices))
            continue
        answer = plain.get(id(outcome))
        if answer is None:
            answer = plain[id(outcome)] = Answer(server_time, outcome.generation, None, outcome.notices)
        reply.set_result(answer)
    HEARTBEATS_ACCEPTED.inc(accepted)


def _fail(batch: Sequence[_Waiting], error: MusterError) -> None:
    for _, reply in batch:
        if not reply.done():
            reply.set_exception(error)
