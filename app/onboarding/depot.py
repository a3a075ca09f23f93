"""The packages of this process: each built once, in a thread, the latest few kept in memory."""

import asyncio
from collections import OrderedDict
from typing import Annotated

from fastapi import Depends, Request

from app.onboarding.bundle import Package, build

KEPT_PACKAGES = 8
"""About two megabytes each."""


class Depot:
    """Builds packages when they are asked for."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Package] = OrderedDict()
        self._turn = asyncio.Lock()

    async def package(self, version: str) -> Package:
        """The package of a version. Whoever asks has checked that the version may be served."""
        async with self._turn:
            if version not in self._kept:
                self._kept[version] = await asyncio.to_thread(build, version)
                while len(self._kept) > KEPT_PACKAGES:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(version)
            return self._kept[version]


async def _depot(request: Request) -> Depot:
    depot: Depot = request.app.state.depot
    return depot


Packages = Annotated[Depot, Depends(_depot)]
