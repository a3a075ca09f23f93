"""The HTTP side: how the agent connects, and how it reads what the control plane answers."""

import re
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from .state import Proxy
from .version import MUSTER_VERSION

USER_AGENT = f"muster-agent/{MUSTER_VERSION}"
CONNECT_TIMEOUT_SECONDS = 10.0
# A peer that sends a byte now and then never trips the timeouts for single reads; this one ends any request.
REQUEST_TIMEOUT_SECONDS = 30.0

_LONGEST_TEXT = 500


def check_url(url: str) -> str:
    """Return the control plane's URL without a trailing slash.

    Raises ValueError for anything but an http(s) URL with a host, and for one that carries a password.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"{url!r} is not an http:// or https:// URL")
    if parts.username or parts.password:
        raise ValueError("the URL must not carry a user name or password")
    if parts.query or parts.fragment:
        raise ValueError(f"{url!r} must not have a query or fragment")
    return url.rstrip("/")


def sends_secrets_in_the_clear(url: str) -> bool:
    """Return whether requests to ``url`` travel over a network unencrypted."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}


def open_client(
    url: str,
    *,
    ca_file: str | None = None,
    proxy: Proxy | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> httpx.AsyncClient:
    """Return a client for the control plane at ``url`` with an empty connection pool.

    With ``ca_file`` only that CA is trusted, else those the operating system trusts; the file is read anew
    each time, so a renewed CA is picked up by the next reconnect. Raises OSError if it can not be read or
    holds no certificate. Without ``proxy`` the machine's own is used: that of the usual environment variables,
    on Windows that of the system. ``transport`` replaces the network.
    """
    return httpx.AsyncClient(
        base_url=url,
        verify=_tls_context(url, ca_file),
        transport=transport,
        proxy=_custom_proxy(proxy),
        trust_env=proxy is None or proxy.mode == "existing",
        headers={"User-Agent": USER_AGENT, "Accept": "application/json, application/problem+json"},
        timeout=httpx.Timeout(CONNECT_TIMEOUT_SECONDS),
        # The connection has to outlive the pause between heartbeats: a TLS handshake for each of them is what
        # a large fleet can not afford. Whether the peer has closed it meanwhile is checked before each use.
        limits=httpx.Limits(max_connections=2, max_keepalive_connections=1, keepalive_expiry=None),
        follow_redirects=False,
    )


def _custom_proxy(proxy: Proxy | None) -> httpx.Proxy | None:
    if proxy is None or proxy.mode != "custom":
        return None
    host = f"[{proxy.address}]" if ":" in (proxy.address or "") else proxy.address
    auth = (proxy.user_name, proxy.password or "") if proxy.user_name else None
    return httpx.Proxy(f"http://{host}:{proxy.port}", auth=auth)


def _tls_context(url: str, ca_file: str | None) -> ssl.SSLContext:
    if ca_file is not None:
        return ssl.create_default_context(cafile=ca_file)
    if url.startswith("https:"):
        return ssl.create_default_context()
    # Reading the system's certificates takes tens of milliseconds that plain HTTP need not spend.
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True)
class Problem:
    """A problem document (RFC 9457) as the control plane answers errors."""

    status: int
    title: str
    detail: str
    code: str
    errors: tuple[str, ...]
    members: dict[str, Any]

    def __str__(self) -> str:
        """Return the whole problem in one line."""
        text = f"{self.status} {self.title}"
        if self.detail:
            text += f": {self.detail}"
        if self.code:
            text += f" [{self.code}]"
        return "; ".join([text, *self.errors])


def is_credential(value: object) -> bool:
    """Return whether ``value`` can be sent as a credential: text that fits into a header."""
    return isinstance(value, str) and bool(re.fullmatch(r"[!-~]{1,4096}", value))


def read_object(response: httpx.Response) -> dict[str, Any] | None:
    """Return the JSON object in the answer's body, None if it holds anything else."""
    try:
        document = response.json()
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def read_problem(response: httpx.Response) -> Problem | None:
    """Return the problem an error answer describes, None if its body is no JSON object.

    None means that something between the agent and the control plane has answered: a proxy, a load
    balancer, a captive portal.
    """
    members = read_object(response)
    if members is None:
        return None
    errors = members.get("errors")
    lines = [
        f"{printable(error.get('pointer'))} {printable(error.get('detail'))}".strip()
        for error in (errors[:20] if isinstance(errors, list) else [])
        if isinstance(error, dict)
    ]
    return Problem(
        status=response.status_code,
        title=printable(members.get("title")) or response.reason_phrase or "error",
        detail=printable(members.get("detail")),
        code=printable(members.get("code")),
        errors=tuple(lines),
        members=members,
    )


def describe_answer(response: httpx.Response) -> str:
    """Return one line on an answer that is not what was hoped for."""
    problem = read_problem(response)
    if problem is not None:
        return str(problem)
    kind = printable(response.headers.get("content-type", "nothing")) or "nothing"
    return f"{response.status_code} {response.reason_phrase}, with {kind} that is not the control plane's"


def describe_failure(error: BaseException) -> str:
    """Return one line on why a request got no answer."""
    text = printable(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def printable(value: object) -> str:
    """Return text of bounded length that can not forge lines or colours in a log; empty for anything else."""
    if not isinstance(value, str):
        return ""
    cleaned = "".join(letter if letter.isprintable() else " " for letter in value)
    return cleaned if len(cleaned) <= _LONGEST_TEXT else cleaned[: _LONGEST_TEXT - 1] + "…"
