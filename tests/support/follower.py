"""A follower of the event record that loses its connection at random, and wants each event once and in order."""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Callable
from typing import Any, Protocol

import httpx

from tests.support.streams import frame_of

Event = dict[str, Any]


class Feed(Protocol):
    """One way to follow the record: the list, or the stream."""

    def open(self, client: httpx.AsyncClient, url: str, after: int) -> AsyncGenerator[Event, None]:
        """Every event with a number above `after`, in order and without an end, from the replica at `url`.

        Raises httpx.HTTPError when the connection breaks or the replica has no answer.
        """


class ListFeed:
    """The list, page by page. It remembers where each page ended: cursors are opaque, and good at every replica."""

    PAGE, POLL_SECONDS = 7, 0.1

    def __init__(self, vault: str) -> None:
        self._path = f"/api/v1/vaults/{vault}/events"
        self._ends: dict[int, str] = {}

    async def open(self, client: httpx.AsyncClient, url: str, after: int) -> AsyncGenerator[Event, None]:
        """Starts at the last page's end that is not after `after`."""
        position = max((end for end in self._ends if end <= after), default=0)
        while True:
            cursor = {"cursor": self._ends[position]} if position else {}
            answer = await client.get(f"{url}{self._path}", params={"limit": self.PAGE, **cursor})
            answer.raise_for_status()
            page = answer.json()
            for number, event in enumerate(page["items"], start=position + 1):
                assert event["sequence"] == number, f"a page after {position} has {event['sequence']} for {number}"
                if number > after:
                    after = number
                    yield event
            if page["nextCursor"] is None:
                # Not full yet: it is asked for again, because it fills up.
                await asyncio.sleep(self.POLL_SECONDS)
                continue
            position += len(page["items"])
            self._ends[position] = page["nextCursor"]


class StreamFeed:
    """The stream: a frame for each event, resumed by `Last-Event-ID`."""

    def __init__(self, vault: str) -> None:
        self._path = f"/api/v1/vaults/{vault}/events/stream"

    async def open(self, client: httpx.AsyncClient, url: str, after: int) -> AsyncGenerator[Event, None]:
        """Passes over comments and frames that only have a number."""
        async with client.stream("GET", url + self._path, headers={"Last-Event-ID": str(after)}) as answer:
            answer.raise_for_status()
            rest = ""
            async for text in answer.aiter_text():
                *frames, rest = (rest + text).split("\n\n")
                for frame in map(frame_of, frames):
                    if frame.data is not None:
                        assert frame.id == frame.data["sequence"]
                        yield frame.data


class Follower:
    """Follows one vault's record through whichever replica it gets hold of."""

    def __init__(self, feed: Feed, urls: Callable[[], list[str]], token: str, seed: int) -> None:
        self._feed = feed
        self._urls = urls
        self._headers = {"Authorization": f"Bearer {token}"}
        self._random = random.Random(seed)
        self.seen: list[Event] = []
        self.connections = 0

    @property
    def last(self) -> int:
        """The number of the last event it has seen."""
        return int(self.seen[-1]["sequence"]) if self.seen else 0

    async def run(self) -> None:
        """Follow until cancelled. Raises AssertionError at the first event that is missed, repeated or out of turn."""
        while True:
            lives = self._random.randrange(1, 40)
            self.connections += 1
            try:
                async with httpx.AsyncClient(headers=self._headers, timeout=5) as client:
                    opened = self._feed.open(client, self._random.choice(self._urls()), self.last)
                    async with contextlib.aclosing(opened) as events:
                        async for event in events:
                            assert event["sequence"] == self.last + 1, f"after {self.last} came {event['sequence']}"
                            self.seen.append(event)
                            lives -= 1
                            if lives == 0:
                                break
            except httpx.HTTPError:
                await asyncio.sleep(0.05)
