"""Secrets: made from the system's randomness, stored as hashes, compared in constant time.

API tokens, registration keys and agent credentials are `id.secret`: the id finds the row, the secret's
SHA-256 proves it. 256 random bits need no slow hash. Passphrases are typed by people, so they are argon2.
"""

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
import string
import uuid
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

SECRET_BYTES = 32
PASSPHRASE_TAG_LENGTH = 6
PASSPHRASE_LENGTH = 32
ARGON2_COST = {"time_cost": 2, "memory_cost": 19_456, "parallelism": 1}
"""OWASP's least argon2id parameters: passphrases are random, so more would only slow registrations down."""

_PASSPHRASE_CHARACTERS = frozenset(string.ascii_lowercase + string.digits)
_ID_HEX = re.compile("[0-9a-f]{32}")


class Issued(NamedTuple):
    """A new secret: `text` goes out once, `digest` is stored."""

    id: uuid.UUID
    text: str
    digest: bytes


class Presented(NamedTuple):
    """A secret that somebody shows: the row it claims (32 hex digits) and the digest to compare."""

    hex: str
    digest: bytes

    @property
    def id(self) -> uuid.UUID:
        """The row it claims."""
        return uuid.UUID(hex=self.hex)


def digest_of(secret: str) -> bytes:
    """SHA-256 of a secret with at least 256 random bits."""
    return hashlib.sha256(secret.encode()).digest()


def issue(identifier: uuid.UUID) -> Issued:
    """Make a new `id.secret` for the row `identifier`."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    return Issued(identifier, f"{identifier.hex}.{secret}", digest_of(secret))


def parse(text: str) -> Presented | None:
    """Read `id.secret`; None when it does not have that form."""
    head, _, secret = text.partition(".")
    if not secret or not _ID_HEX.fullmatch(head):
        return None
    return Presented(head, digest_of(secret))


def parse_any(text: str) -> Presented:
    """Like `parse`, but a text of another form (a preset admin token) gets an id made from its digest."""
    presented = parse(text)
    if presented is not None:
        return presented
    digest = digest_of(text)
    return Presented(uuid.UUID(bytes=digest[:16], version=5).hex, digest)


def same(left: bytes, right: bytes) -> bool:
    """Compare two digests in constant time."""
    return hmac.compare_digest(left, right)


def new_passphrase() -> str:
    """A passphrase in groups of four letters and digits; its first six characters are a public tag.

    The tag (`passphrase_tag`) finds the configuration server among sites that share a private address;
    the remaining 26 characters of base 32 are 130 secret bits.
    """
    text = base64.b32encode(secrets.token_bytes(20)).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, PASSPHRASE_LENGTH, 4))


def normalise_passphrase(text: str) -> str:
    """A passphrase as it is hashed: people and files add case, spaces, line ends and byte order marks."""
    return "".join(character for character in text.lower() if character in _PASSPHRASE_CHARACTERS)


def passphrase_tag(text: str) -> str:
    """The public part of a passphrase."""
    return normalise_passphrase(text)[:PASSPHRASE_TAG_LENGTH]


class PassphraseHasher:
    """argon2id off the event loop, at most `parallel` at a time, so that registrations never starve heartbeats."""

    def __init__(self, parallel: int = 2) -> None:
        self._hasher = PasswordHasher(
            time_cost=ARGON2_COST["time_cost"],
            memory_cost=ARGON2_COST["memory_cost"],
            parallelism=ARGON2_COST["parallelism"],
        )
        self._slots = asyncio.Semaphore(parallel)
        self._unused: str | None = None

    async def hash(self, passphrase: str) -> str:
        """The argon2id hash to store."""
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, normalise_passphrase(passphrase))

    async def verify(self, stored: str | None, passphrase: str) -> bool:
        """Whether `passphrase` belongs to `stored`; with None the same work is done and the answer is no."""
        async with self._slots:
            return await asyncio.to_thread(self._verify, stored, normalise_passphrase(passphrase))

    def _verify(self, stored: str | None, passphrase: str) -> bool:
        if stored is None and self._unused is None:
            self._unused = self._hasher.hash(secrets.token_urlsafe(SECRET_BYTES))
        try:
            self._hasher.verify(stored or self._unused or "", passphrase)
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None
