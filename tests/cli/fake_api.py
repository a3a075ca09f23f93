"""A control plane made of canned answers."""

import json
from collections.abc import Callable
from typing import Any

import httpx
from typer.testing import Result

TOKEN = "0192f0c17b1e7cc398c4dc0c0c07398f.the-secret-part-of-the-token"
NOW = "Tue, 24 Nov 2026 12:00:00 GMT"

Handler = Callable[[httpx.Request], httpx.Response]
Muster = Callable[..., Result]


class FakeApi:
    """Answers by method and path, and remembers what was asked."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self._handlers: dict[tuple[str, str], Handler] = {}

    def on(self, method: str, path: str, handler: Handler) -> None:
        """Let `handler` answer; it may raise what a network raises."""
        self._handlers[method, path] = handler

    def answer(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Answer with a JSON document, or with none."""
        content = b"" if body is None else json.dumps(body).encode()
        media = "application/problem+json" if status >= 400 else "application/json"
        found = {"Date": NOW, **({"Content-Type": media} if content else {}), **(headers or {})}
        self.on(method, path, lambda _: httpx.Response(status, content=content, headers=found))

    def pages(self, path: str, *found: list[dict[str, Any]]) -> None:
        """Answer with pages that are linked by cursors."""

        def handler(request: httpx.Request) -> httpx.Response:
            position = int(request.url.params.get("cursor", "0"))
            following = str(position + 1) if position + 1 < len(found) else None
            page = found[position] if found else []
            items = page[: int(request.url.params["limit"])]
            return httpx.Response(200, json={"items": items, "nextCursor": following}, headers={"Date": NOW})

        self.on("GET", path, handler)

    def refuse(self, method: str, path: str, status: int, code: str, **members: Any) -> None:
        """Answer with a problem document."""
        problem = {
            "type": f"urn:muster:error:{code}",
            "title": f"Title of {code}",
            "status": status,
            "detail": f"detail of {code}",
            "code": code,
            "requestId": "request-17",
        }
        self.answer(method, path, {**problem, **members}, status=status)

    def asked(self, method: str, path: str | None = None) -> list[httpx.Request]:
        """The requests of one method, in their order."""
        return [request for request in self.requests if request.method == method and path in (None, request.url.path)]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        handler = self._handlers.get((request.method, request.url.path))
        if handler is None:
            return httpx.Response(404, json={"title": f"no canned answer for {request.method} {request.url.path}"})
        return handler(request)


def process_server(name: str, **members: Any) -> dict[str, Any]:
    """A process server as the API shows it."""
    return {
        "id": f"id-of-{name}",
        "name": name,
        "friendlyName": "",
        "kind": "scaleOut",
        "vault": "prod",
        "configurationServer": "cs-ams-01",
        "hostId": "0192f0c1-0000-7000-8000-00000000000a",
        "fqdn": f"{name}.corp.example",
        "ipAddresses": ["10.150.24.120"],
        "dataTransferPort": 9443,
        "os": {"type": "Windows", "version": "10.0.14393"},
        "hardware": {"cpuCount": 8, "totalMemoryInBytes": 12 * 2**30, "cacheDiskSizeInBytes": 600 * 2**30},
        "agentVersion": "9.62.7096.1",
        "versionStatus": "Supported",
        "connectionState": "Connected",
        "lastHeartbeat": "2026-11-24T11:59:48.000Z",
        "health": "Healthy",
        "healthErrors": [],
        "telemetry": {
            "cpuPercentage": 37.5,
            "totalMemoryInBytes": 12 * 2**30,
            "availableMemoryInBytes": 6 * 2**30,
            "totalSpaceInBytes": 600 * 2**30,
            "availableSpaceInBytes": 300 * 2**30,
            "throughputInBytes": 50 * 2**20,
            "throughputUploadPendingDataInBytes": 2**30,
        },
        "services": {"ProcessServer": "Running", "tmansvc": "Stopped"},
        "sourceMachineCount": 42,
        "maintenance": None,
        "createdAt": "2026-11-20T12:00:00.000Z",
        "updatedAt": "2026-11-24T10:00:00.000Z",
        **members,
    }
