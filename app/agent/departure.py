"""A decommission that the control plane asks for, carried out between two heartbeats.

First the control plane is asked, which takes the job up: from then on it can not be cancelled. Then the steps are
done, once in the life of this process, and then comes the goodbye, repeated after each heartbeat until it is
answered. A process that ends in between starts over: what is gone already is skipped.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import httpx

from .deadlines import within
from .state import DesiredState, Json
from .uninstall import FAILED, Step
from .wire import REQUEST_TIMEOUT_SECONDS, describe_answer, describe_failure, read_object

DECOMMISSION_PATH = "/agent/v1/decommission"

Post = Callable[[str, Json], Coroutine[Any, Any, httpx.Response]]

_log = logging.getLogger("muster.agent.departure")


def wanted_job(desired: DesiredState | None) -> str | None:
    """Return the id of the job that asks this server to leave, None if none does."""
    actions = desired.document.get("actions") if desired is not None else None
    for action in actions if isinstance(actions, list) else []:
        if isinstance(action, dict) and action.get("type") == "decommission" and isinstance(action.get("job"), str):
            return str(action["job"])
    return None


def goodbye(steps: Sequence[Step], *, switch_to: str | None = None, job: str | None = None) -> Json:
    """Return the body that reports the steps."""
    body: Json = {"steps": [step.to_json() for step in steps]}
    return body | ({"switchTo": switch_to} if switch_to else {}) | ({"job": job} if job else {})


class Departure:
    """Leaves when it is asked to."""

    def __init__(self, uninstall: Callable[[], list[Step]]) -> None:
        """``uninstall`` does the steps; it runs in a thread."""
        self._uninstall = uninstall
        self._job: str | None = None
        self._steps: list[Step] | None = None
        self._is_over = False
        self._last_trouble = ""

    async def is_done(self, desired: DesiredState | None, post: Post) -> bool:
        """Carry out what is asked as far as it goes now. True once this server is gone. Raises nothing it outlives."""
        job = wanted_job(desired)
        if job != self._job:
            self._job, self._steps, self._is_over, self._last_trouble = job, None, False, ""
        if job is None or self._is_over:
            return False
        try:
            return await self._carry_out(job, post)
        except (httpx.HTTPError, OSError, asyncio.TimeoutError) as error:
            self._trouble(describe_failure(error))
            return False

    async def _carry_out(self, job: str, post: Post) -> bool:
        if self._steps is None:
            check = await self._send(post, {"dryRun": True, "job": job})
            if check is None:
                return False
            _log.warning("asked to leave by job %s: uninstalling", job)
            self._steps = await asyncio.to_thread(self._uninstall)
            for step in self._steps:
                _log.warning("%s: %s (%s)", step.name, step.status, step.detail)
        answer = await self._send(post, goodbye(self._steps, job=job))
        if answer is None:
            return False
        if any(step.status == FAILED for step in self._steps):
            _log.error("this server stays: a step failed, and the control plane knows")
            self._is_over = True
            return False
        return answer.get("decommissioned") is True

    async def _send(self, post: Post, body: Json) -> Json | None:
        response = await within(REQUEST_TIMEOUT_SECONDS, post(DECOMMISSION_PATH, body))
        answer = read_object(response)
        if response.status_code == 200 and answer is not None:
            return answer
        self._trouble(describe_answer(response))
        return None

    def _trouble(self, text: str) -> None:
        # Once for each reason: it is tried again after every heartbeat.
        if text != self._last_trouble:
            _log.error("can not leave yet: %s; trying again after the next heartbeat", text)
        self._last_trouble = text
