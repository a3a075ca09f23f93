"""`Idempotency-Key`: a POST that is sent again gets the first answer again.

The answer is stored in the transaction of its fact. It may hold a secret, so it is sealed (AES-256-GCM)
under a key derived from the caller's own secret, which is stored nowhere.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import add_unique
from app.core.errors import IdempotencyKeyReused, MusterError
from app.core.problems import Replay
from app.models import IdempotentAnswer

MAX_KEY_LENGTH = 255
_KEPT_HEADERS = ("location", "etag", "content-disposition")

View = TypeVar("View", bound=BaseModel)


class Once:
    """Runs a use case at most once for an `Idempotency-Key` and caller."""

    def __init__(self, request: Request, response: Response, key: str | None) -> None:
        self._request = request
        self._response = response
        self._key = key

    async def __call__(
        self, session: AsyncSession, caller: str, secret: str, act: Callable[[], Awaitable[View]]
    ) -> View:
        """The view that `act` returns.

        `caller` scopes the key, `secret` seals the answer. Raises Replay when the key was answered before,
        IdempotencyKeyReused when it came with another request.
        """
        if self._key is None:
            return await act()
        identity, fingerprint = await self._identified(caller)
        await self._replay(session, identity, fingerprint, secret)
        row = IdempotentAnswer(
            id=identity, fingerprint=fingerprint, sealed=None, created_at=self._request.app.state.clock.now()
        )
        # On PostgreSQL a concurrent twin waits here until this transaction ends, then takes the replay.
        if not await _claim(session, row):
            await self._replay(session, identity, fingerprint, secret)
            raise IdempotencyKeyReused("a request with this Idempotency-Key is being answered; try again")
        view = await act()
        row.sealed = _seal(secret, identity, self._answer(view))
        return view

    async def replay(self, session: AsyncSession, caller: str, secret: str) -> None:
        """For those who have much to do before they act: raises what a repetition raises, and else does nothing."""
        if self._key is not None:
            await self._replay(session, *await self._identified(caller), secret)

    async def _identified(self, caller: str) -> tuple[bytes, bytes]:
        """What names this attempt, and what it asks for."""
        named = f"{caller}\n{self._request.method}\n{self._request.url.path}\n{self._key}"
        asked = await self._request.body() + self._request.url.query.encode()
        return hashlib.sha256(named.encode()).digest(), hashlib.sha256(asked).digest()

    def _answer(self, view: BaseModel) -> bytes:
        # Registrations answer 200 for what was known before; every other creation has its route's status.
        usual = 200 if getattr(view, "is_new", True) is False else self._request.scope["route"].status_code or 200
        status = self._response.status_code or usual
        headers = {name: value for name, value in self._response.headers.items() if name in _KEPT_HEADERS}
        return json.dumps([status, headers, view.model_dump_json()]).encode()

    async def _replay(self, session: AsyncSession, identity: bytes, fingerprint: bytes, secret: str) -> None:
        row = (
            await session.execute(
                select(IdempotentAnswer)
                .where(IdempotentAnswer.id == identity)
                .execution_options(populate_existing=True)
            )
        ).scalar_one_or_none()
        if row is None or row.sealed is None:
            return
        if row.fingerprint != fingerprint:
            raise IdempotencyKeyReused("this Idempotency-Key was used with another body; use a new key")
        try:
            status, headers, body = json.loads(_open(secret, identity, row.sealed))
        except InvalidTag:
            raise IdempotencyKeyReused("this Idempotency-Key was used with another secret; use a new key") from None
        raise Replay(status, headers, body.encode())


async def _claim(session: AsyncSession, row: IdempotentAnswer) -> bool:
    taken = MusterError("taken")
    try:
        await add_unique(session, row, taken)
    except MusterError as error:
        if error is not taken:
            raise
        return False
    return True


def _cipher(secret: str, identity: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt=identity, info=b"muster idempotent answer").derive(secret.encode()))


# The key is used for one message only (the identity salts it), so a fixed nonce repeats under no key.
_NONCE = bytes(12)


def _seal(secret: str, identity: bytes, answer: bytes) -> bytes:
    return _cipher(secret, identity).encrypt(_NONCE, answer, identity)


def _open(secret: str, identity: bytes, sealed: bytes) -> bytes:
    return _cipher(secret, identity).decrypt(_NONCE, sealed, identity)


async def forget_before(session: AsyncSession, moment: datetime, retention: timedelta) -> int:
    """Delete answers older than `retention`. Returns how many."""
    statement = delete(IdempotentAnswer).where(IdempotentAnswer.created_at < moment - retention)
    result: Any = await session.execute(statement)
    return int(result.rowcount)


async def _once(
    request: Request,
    response: Response,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=MAX_KEY_LENGTH,
            description="Any text that names this attempt; a repetition gets the first answer again.",
        ),
    ] = None,
) -> Once:
    return Once(request, response, idempotency_key)


Idempotent = Annotated[Once, Depends(_once)]
