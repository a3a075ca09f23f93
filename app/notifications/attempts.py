"""One attempt to deliver: made outside of any transaction, then put on record in one of its own."""

import random
import time
from collections.abc import Mapping
from datetime import datetime, timedelta

import structlog

from app.core.clock import Clock
from app.core.db import Database
from app.core.errors import Unavailable
from app.core.metrics import DELIVERIES, DELIVERY_SECONDS
from app.core.settings import Settings
from app.models import NotificationChannel, NotificationDelivery
from app.notifications import channels, queries
from app.notifications.rules import has_failed_too_long, next_attempt
from app.notifications.senders import Outcome, Sender, failed
from app.vocabulary import ChannelKind, DeliveryKind, DeliveryState

log = structlog.get_logger("muster.notifications")


class Attempts:
    """Makes attempts with the sender of each kind of channel."""

    def __init__(
        self, database: Database, clock: Clock, settings: Settings, senders: Mapping[ChannelKind, Sender]
    ) -> None:
        self._database = database
        self._clock = clock
        self._failure_limit = timedelta(days=settings.notification_failure_days)
        self._senders = senders

    async def make(self, channel: NotificationChannel, delivery: NotificationDelivery) -> None:
        """Send a claimed delivery and record how it went. What can't be recorded is sent again after its lease."""
        started = time.perf_counter()
        outcome = await self._send(channel, delivery)
        DELIVERY_SECONDS.labels(channel=channel.kind).observe(time.perf_counter() - started)
        try:
            state = await self._record(channel, delivery, outcome)
        except Unavailable as error:
            log.warning("an attempt could not be recorded", delivery=str(delivery.id), error=error.detail)
            return
        DELIVERIES.labels(channel=channel.kind, outcome="retried" if state is None else state.value.lower()).inc()

    async def _send(self, channel: NotificationChannel, delivery: NotificationDelivery) -> Outcome:
        try:
            return await self._senders[ChannelKind(channel.kind)].send(channel, delivery, self._clock.now())
        except Exception as error:
            # One message that a sender trips over must not keep the others from going out.
            log.error("a sender failed", delivery=str(delivery.id), exc_info=error)
            return failed(f"Muster failed to send it ({type(error).__name__}); its log has the rest")

    async def _record(
        self, sent_to: NotificationChannel, sent: NotificationDelivery, outcome: Outcome
    ) -> DeliveryState | None:
        """The state that the delivery ended in; None when it will be tried again."""
        async with self._database.write() as session:
            channel = await queries.lock_channel(session, sent_to.id)
            delivery = await queries.lock_delivery(session, sent.id)
            now = self._clock.now()
            if channel is None or delivery is None:
                return DeliveryState.CANCELLED
            if outcome.is_delivered:
                return _delivered(channel, delivery, outcome, now)
            if channel.failing_since is None and delivery.kind != DeliveryKind.TEST.value:
                channel.failing_since = now
            if delivery.state != DeliveryState.PENDING.value or delivery.attempts != sent.attempts:
                # Given up meanwhile, or taken by another sender after the lease: that one's word counts.
                return DeliveryState(delivery.state) if delivery.ended_at is not None else None
            delivery.last_status, delivery.last_error = outcome.status, outcome.error
            again = None
            if not outcome.is_final:
                jitter = random.random()  # noqa: S311 - no secret
                again = next_attempt(now, delivery.deadline_at, delivery.attempts, jitter, outcome.retry_after)
            delivery.next_attempt_at = again
            if again is not None:
                return None
            _end(delivery, DeliveryState.FAILED, now)
            await session.flush()
            if outcome.is_gone:
                await channels.disable(session, channel, f"the receiver answered {outcome.error}", now)
            elif delivery.kind != DeliveryKind.TEST.value and has_failed_too_long(
                channel.failing_since, now, self._failure_limit
            ):
                days = self._failure_limit / timedelta(days=1)
                reason = f"nothing has been delivered for {days:g} days; the last attempt failed: {outcome.error}"
                await channels.disable(session, channel, reason, now)
            return DeliveryState.FAILED


def _delivered(
    channel: NotificationChannel, delivery: NotificationDelivery, outcome: Outcome, now: datetime
) -> DeliveryState:
    # Also when it was given up meanwhile: it has arrived, and the log says what happened.
    if channel.failing_since is not None:
        channel.failing_since = None
    delivery.last_status, delivery.last_error = outcome.status, outcome.error
    _end(delivery, DeliveryState.DELIVERED, now)
    return DeliveryState.DELIVERED


def _end(delivery: NotificationDelivery, state: DeliveryState, now: datetime) -> None:
    delivery.state = state.value
    delivery.next_attempt_at = None
    delivery.ended_at = now
    delivery.body = None
