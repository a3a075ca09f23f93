"""The API as the command line speaks it: token, errors, pages, entity tags and the one retry.

httpx is imported where it is first used, so that help and completion don't wait for it.
"""

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from app import __version__
from app.cli import transport
from app.cli.credentials import Endpoint, checked_url, find_token
from app.cli.failures import CommandError, RefusedError, UnreachableError, UsageError

if TYPE_CHECKING:
    import httpx

PAGE_SIZE = 500
RETRY_PAUSE_SECONDS = 0.25
PIECE_BYTES = 65_536
FILE_SECONDS = 120.0
"""What the answer to a file may take at the least: there is work between its last byte and the answer."""

_REMEDIES: Mapping[int, str] = {
    401: "check the token: it may have expired or been deleted, or belong to another control plane",
    403: "use a token with a higher role",
    412: "somebody changed it meanwhile; look at it again, then repeat the command",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API said: the document or, where it is a file, its text, and the entity tag to write with."""

    body: Any
    text: str
    etag: str | None


def api_path(*segments: str) -> str:
    """The path of a resource below /api/v1, each segment quoted.

    Raises UsageError for a segment that would name another resource than the one meant.
    """
    for segment in segments:
        if not segment.strip() or segment in {".", ".."}:
            raise UsageError(f"'{segment}' is neither a name nor an id")
    return "/api/v1/" + "/".join(quote(segment, safe="") for segment in segments)


class ApiClient:
    """A connection to one control plane. Use it as a context manager."""

    def __init__(self, endpoint: Endpoint, wire: "httpx.BaseTransport | None" = None) -> None:
        self._endpoint = endpoint
        self._url = checked_url(endpoint.url)
        self._http = transport.connect(
            endpoint,
            headers={
                "Authorization": f"Bearer {find_token(endpoint)}",
                "Accept": "application/json",
                "User-Agent": f"muster-cli/{__version__}",
            },
            wire=wire,
        )
        self._server_time: datetime | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    @property
    def server_time(self) -> datetime | None:
        """The control plane's clock as of the last answer: ages are told by it, not by this machine's."""
        return self._server_time

    def now(self) -> datetime:
        """The control plane's clock, asked for where no answer has told it yet."""
        if self._server_time is None:
            self._exchange("GET", "/healthz")
        if self._server_time is None:
            raise UsageError(
                "the control plane tells no time, so a duration can't be counted from it",
                remedy="give a time such as 2026-11-24T13:16:05Z",
            )
        return self._server_time

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        """Read one resource."""
        return self._accepted(self._exchange("GET", path, params=params))

    def page(self, path: str, params: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str | None]:
        """Read one page of a list: its items and the cursor of the next page."""
        body = self.get(path, params).body
        if not isinstance(body, dict) or not isinstance(body.get("items"), list):
            raise CommandError(f"{self._url}{path} answered something that is not a list of Muster's")
        return body["items"], body.get("nextCursor") or None

    def items(
        self, path: str, params: Mapping[str, Any] | None = None, *, limit: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Walk a list through all its pages, or its first `limit` items."""
        cursor: str | None = None
        left = limit
        while left is None or left > 0:
            size = PAGE_SIZE if left is None else min(PAGE_SIZE, left)
            found, following = self.page(path, {**(params or {}), "limit": size, "cursor": cursor})
            yield from found[:left]
            if following is None:
                return
            if following == cursor:
                raise CommandError(f"{self._url}{path} answers the same page again and again")
            cursor = following
            left = None if left is None else left - len(found)

    @contextlib.contextmanager
    def stream(
        self, path: str, params: Mapping[str, Any], headers: Mapping[str, str], *, silence_seconds: float
    ) -> Iterator[Iterator[bytes]]:
        """Open an answer that goes on and on, as its pieces; UnreachableError after a silence of `silence_seconds`."""
        given = {key: value for key, value in params.items() if value not in (None, [])}
        limit = self._endpoint.timeout_seconds
        timeout = (limit, max(limit, silence_seconds), limit, limit)
        with (
            transport.failures_explained(self._endpoint),
            self._http.stream("GET", self._url + path, params=given, headers=dict(headers), timeout=timeout) as answer,
        ):
            if not answer.is_success:
                answer.read()
                self._accepted(answer)
            yield answer.iter_bytes()

    def post(self, path: str, body: Mapping[str, Any] | None = None, params: Mapping[str, Any] | None = None) -> Answer:
        """Create something. An answer that got lost is asked for once more under the same Idempotency-Key."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        try:
            response = self._exchange("POST", path, body=body or {}, params=params, headers=headers)
        except UnreachableError:
            time.sleep(RETRY_PAUSE_SECONDS)
            response = self._exchange("POST", path, body=body or {}, params=params, headers=headers)
        return self._accepted(response)

    def post_file(
        self,
        path: str,
        content: bytes,
        media_type: str,
        params: Mapping[str, Any] | None = None,
        *,
        sent: Callable[[int], None],
    ) -> Answer:
        """Send a file, telling `sent` how many bytes went; like `post`, but patient with the work on it."""
        headers = {
            "Idempotency-Key": str(uuid.uuid4()),
            "Content-Type": media_type,
            "Content-Length": str(len(content)),
        }

        def pieces() -> Iterator[bytes]:
            for start in range(0, len(content), PIECE_BYTES):
                piece = content[start : start + PIECE_BYTES]
                yield piece
                sent(len(piece))

        def exchange() -> "httpx.Response":
            return self._exchange("POST", path, params=params, content=pieces(), headers=headers)

        try:
            response = exchange()
        except UnreachableError:
            time.sleep(RETRY_PAUSE_SECONDS)
            response = exchange()
        return self._accepted(response)

    def put(self, path: str, body: Mapping[str, Any], *, etag: str | None = None) -> Answer:
        """Put a resource as a whole, provided that it still is what `etag` was read with."""
        headers = {"If-Match": etag} if etag else {}
        return self._accepted(self._exchange("PUT", path, body=body, headers=headers))

    def patch(self, path: str, body: Mapping[str, Any], *, etag: str | None) -> Answer:
        """Change a resource, provided that it still is what `etag` was read with."""
        headers = {"If-Match": etag} if etag else {}
        return self._accepted(self._exchange("PATCH", path, body=body, headers=headers))

    def change(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Read a resource and change it, unless somebody else changes it in between.

        Raises UsageError where there is nothing to change.
        """
        if not body:
            raise UsageError("there is nothing to change", remedy="name what should change; --help lists it")
        changed: dict[str, Any] = self.patch(path, body, etag=self.get(path).etag).body
        return changed

    def delete(self, path: str, *, etag: str | None = None, params: Mapping[str, Any] | None = None) -> Answer:
        """Remove a resource, provided that it still is what `etag` was read with."""
        headers = {"If-Match": etag} if etag else {}
        return self._accepted(self._exchange("DELETE", path, params=params, headers=headers))

    def _exchange(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        content: Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> "httpx.Response":
        given = {key: value for key, value in (params or {}).items() if value not in (None, [])}
        with transport.failures_explained(self._endpoint):
            limit = self._endpoint.timeout_seconds
            response = self._http.request(
                method,
                self._url + path,
                params=given,
                json=body,
                content=content,
                headers=dict(headers or {}),
                timeout=limit if content is None else (limit, max(limit, FILE_SECONDS), limit, limit),
            )
        self._server_time = _date_of(response.headers.get("Date")) or self._server_time
        return response

    def _accepted(self, response: "httpx.Response") -> Answer:
        if response.is_error:
            raise self._refusal(response)
        if response.is_redirect:
            raise CommandError(
                f"{self._url} sends on to {response.headers.get('Location', 'another address')}",
                remedy="name that address with --url or MUSTER_URL",
            )
        body = _document(response)
        # An empty answer (204) may be labelled JSON all the same.
        if body is None and response.content and "json" in response.headers.get("Content-Type", ""):
            raise CommandError(f"{response.request.url} answered JSON that can't be read")
        return Answer(body=body, text=response.text, etag=response.headers.get("ETag"))

    def _refusal(self, response: "httpx.Response") -> CommandError:
        status = response.status_code
        problem = _document(response)
        if not isinstance(problem, dict) or "title" not in problem:
            kind = response.headers.get("Content-Type", "no content")
            title = f"{self._url} answered HTTP {status} ({kind})"
            return RefusedError(
                status,
                {"title": title, "status": status},
                remedy="that is not an answer of Muster's: check the URL and what stands in between",
            )
        remedy = _REMEDIES.get(status)
        wait = response.headers.get("Retry-After", "")
        if wait.isdigit():
            remedy = f"try again in {wait} s"
        return RefusedError(status, problem, remedy=remedy)


def _document(response: "httpx.Response") -> Any:
    """The JSON of an answer; None where it is something else."""
    if "json" not in response.headers.get("Content-Type", ""):
        return None
    try:
        return response.json()
    except ValueError:
        return None


def _date_of(header: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(header) if header else None
    except ValueError:
        return None
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
