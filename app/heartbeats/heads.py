"""Heads of heartbeats that were read before.

An agent sends the same head with each heartbeat, but for the length of its body. Reading it again, header by header,
is a quarter of what a heartbeat costs this process; so the head of an accepted heartbeat is remembered by its digest
(never by its text, which holds a credential) with the credential's id and digest. Whether that credential is good is
asked of the database each time, as ever.
"""

from hashlib import sha256
from typing import NamedTuple

from app.core.secrets import Presented
from app.heartbeats.schemas import MAX_BODY_BYTES

MAX_HEADS = 32_768
"""Some 400 bytes each. When it is full everything is forgotten, and the next heartbeats are read in full again."""
_END = b"\r\n\r\n"
_LENGTH = b"\r\nContent-Length: "


class Request(NamedTuple):
    """One whole request, as it came from the network."""

    key: bytes
    """SHA-256 of its head without the digits of its length."""
    body_at: int
    """Where its body begins."""


class Heads:
    """What is remembered, for all connections of an application."""

    def __init__(self) -> None:
        self._known: dict[bytes, Presented] = {}

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: bytes) -> Presented | None:
        """The credential of the head with this key, where that was remembered."""
        return self._known.get(key)

    def remember(self, key: bytes, presented: Presented) -> None:
        """Remember a head that the HTTP parser has read and the database has accepted the credential of."""
        if len(self._known) >= MAX_HEADS:
            self._known.clear()
        self._known[key] = presented


def request_in(data: bytes) -> Request | None:
    """The request that `data` is from its first byte to its last; None where it is less, more or written otherwise.

    Only the line with the length is looked at. That is enough for a head that the HTTP parser has read before: with
    other digits it means the same.
    """
    end = data.find(_END)
    at = data.find(_LENGTH, 0, end) + len(_LENGTH)
    if at < len(_LENGTH):
        return None
    stop = data.find(b"\r\n", at, end + 2)
    digits = data[at:stop]
    body_at = end + len(_END)
    length = len(data) - body_at
    if length > MAX_BODY_BYTES or digits != b"%d" % length:
        return None
    return Request(sha256(data[:at] + data[stop:end]).digest(), body_at)
