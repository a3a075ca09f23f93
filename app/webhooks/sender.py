"""One attempt to deliver to a webhook: signed, to judged addresses alone, bounded in time and size."""

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import cast

import certifi
import httpcore

from app import __version__
from app.core.errors import SecretKeyUnavailable
from app.core.sealing import Sealer
from app.core.settings import Settings
from app.models import NotificationChannel, NotificationDelivery
from app.notifications.messages import CONTENT_TYPE
from app.notifications.senders import Outcome, excerpt, failed
from app.webhooks import signatures
from app.webhooks.targets import GuardedBackend, Target, TargetRefusedError, Targets, target_of

MAX_READ_BYTES = 4096
"""Of an answer; what is beyond closes the connection."""

MAX_EXCERPT_LENGTH = 200
CONNECT_SHARE = 0.4
"""Of the attempt's time, for each address of a host: a dead first one leaves time for the second."""

KEEP_ALIVE_SECONDS = 5
GONE = 410
Headers = list[tuple[bytes, bytes]]


class WebhookSender:
    """Sends over one pool of connections; follows no redirect, keeps no cookie, asks no proxy."""

    def __init__(self, settings: Settings, sealer: Sealer, targets: Targets, tls: ssl.SSLContext | None = None) -> None:
        self._seconds = settings.webhook_timeout_seconds
        self._sealer = sealer
        self._targets = targets
        self._tls = tls
        self._pool: httpcore.AsyncConnectionPool | None = None

    async def send(self, channel: NotificationChannel, delivery: NotificationDelivery, now: datetime) -> Outcome:
        """POST the delivery's body. Any 2xx is a success, whatever else follows."""
        try:
            keys = secrets_of(channel, self._sealer, now)
        except SecretKeyUnavailable as error:
            return failed(error.detail)
        target, connections = target_of(channel.url or ""), self._connections()
        response: httpcore.Response | None = None
        text = ""
        try:
            async with asyncio.timeout(self._seconds):
                self._targets.require_scheme(target.scheme.decode())
                request = _request(target, delivery, keys, now, self._seconds)
                response = await connections.handle_async_request(request)
                try:
                    text = await _beginning_of(response)
                finally:
                    await response.aclose()
        except TargetRefusedError as error:
            return failed(f"not sent: the webhook {error}")
        except (httpcore.TimeoutException, TimeoutError):
            # Once the status is there, a body that does not come changes nothing.
            if response is None:
                return failed(f"no answer within {self._seconds:g} s")
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            if response is None:
                return failed(f"the connection failed: {str(error) or type(error).__name__}")
        return _judge(response.status, response.headers, text, now)

    async def close(self) -> None:
        """Close every connection."""
        if self._pool is not None:
            await self._pool.aclose()

    def _connections(self) -> httpcore.AsyncConnectionPool:
        # Made when it is first needed: reading the system's certificates takes a while.
        if self._pool is None:
            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=self._tls or _trusting_the_system(),
                network_backend=GuardedBackend(self._targets),
                keepalive_expiry=KEEP_ALIVE_SECONDS,
            )
        return self._pool


def secrets_of(channel: NotificationChannel, sealer: Sealer, now: datetime) -> list[str]:
    """The secrets that sign: the present one, then those whose grace is not over.

    Raises SecretKeyUnavailable when this replica can't decrypt them: no signature is better than a wrong one.
    """
    assert channel.secret is not None, "a CHECK of the table"
    sealed = [channel.secret, *(entry["secret"] for entry in signatures.still_good(channel.previous_secrets, now))]
    return [sealer.open(channel.id, entry) for entry in sealed]


def _request(
    target: Target, delivery: NotificationDelivery, keys: list[str], now: datetime, seconds: float
) -> httpcore.Request:
    body = delivery.body or ""
    headers = {
        "host": target.netloc.decode("ascii"),
        "user-agent": f"Muster/{__version__}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "content-type": CONTENT_TYPE,
        "content-length": str(len(body.encode())),
        **signatures.headers(keys, delivery.message_id, body, now),
    }
    return httpcore.Request(
        b"POST",
        httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path),
        headers=list(headers.items()),
        content=body.encode(),
        extensions={
            "timeout": {"connect": seconds * CONNECT_SHARE, "read": seconds, "write": seconds, "pool": seconds}
        },
    )


async def _beginning_of(response: httpcore.Response) -> str:
    read = b""
    # The pool's streams are generators, which the type of their base leaves open.
    parts = cast("AsyncGenerator[bytes, None]", response.aiter_stream())
    async with contextlib.aclosing(parts):
        async for part in parts:
            read += part[: MAX_READ_BYTES - len(read)]
            if len(read) >= MAX_READ_BYTES:
                break
    return read.decode("utf-8", errors="replace")


def _judge(status: int, headers: Headers, text: str, now: datetime) -> Outcome:
    if 200 <= status < 300:
        return Outcome(is_delivered=True, status=status)
    if 300 <= status < 400:
        return failed(f"HTTP {status}: redirects are not followed; give the webhook its final address", status=status)
    said = excerpt(text, MAX_EXCERPT_LENGTH)
    return failed(
        f"HTTP {status}: {said}" if said else f"HTTP {status}",
        status=status,
        retry_after=_retry_after(headers, now),
        is_final=status == GONE,
        is_gone=status == GONE,
    )


def _retry_after(headers: Headers, now: datetime) -> timedelta | None:
    """The pause that the receiver asks for, in seconds or as a date; None without one that can be read."""
    text = next((value for name, value in headers if name.lower() == b"retry-after"), b"").decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:9]), 10**8))
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
    return None


@functools.cache
def _trusting_the_system() -> ssl.SSLContext:
    """Trusts what the system trusts, its operator's own CAs too, and the public CAs where a system has none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
