"""Waiting with an end, for Python versions that have no trustworthy way of their own.

``asyncio.wait_for`` of Python 3.10 and 3.11 swallows a cancellation that arrives together with the result,
and an agent told to stop in that moment would run on.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")

# How long something that was cancelled may take to clean up before it is left alone.
_GRACE_SECONDS = 2.0


async def within(seconds: float, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Return the result of ``work``; raises asyncio.TimeoutError, and cancels it, after so many seconds."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if task.done():
            return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=_GRACE_SECONDS)
    raise asyncio.TimeoutError(f"no answer within {seconds:g} s")
