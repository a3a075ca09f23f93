"""Where a webhook goes: its URL taken apart, its host resolved, and connections to nothing but what was checked.

The host is resolved and judged when a webhook is created, so that a wrong one is said at once, and again for each
connection, which then goes to the very addresses that were judged: a name that resolves to another address a moment
later (DNS rebinding) gains nothing.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

import httpcore
import httpx

from app.core.errors import Invalid
from app.core.settings import Settings
from app.models.notifications import MAX_URL_LENGTH
from app.webhooks.rules import Address, refusal_of

RESOLVE_SECONDS = 5
MAX_PORT = 65_535
_DEFAULT_PORTS = {"https": 443, "http": 80}

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]


class Target(NamedTuple):
    """A webhook's URL, taken apart for the HTTP client."""

    scheme: bytes
    host: bytes
    port: int
    path: bytes
    netloc: bytes

    @property
    def name(self) -> str:
        """The host as text."""
        return self.host.decode("ascii")


class TargetRefusedError(Exception):
    """A webhook's host can't be resolved, or resolves to what it may not reach; the text says which and why."""


async def system_resolve(host: str, port: int) -> Sequence[Address]:
    """The addresses of a host, by the system's resolver. Raises OSError when there are none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [ipaddress.ip_address(str(entry[4][0])) for entry in found]
    return list(dict.fromkeys(addresses))


def target_of(url: str) -> Target:
    """The parts of a URL that `Targets.checked_url` has accepted."""
    parsed = httpx.URL(url)
    scheme = parsed.scheme
    return Target(
        scheme=parsed.raw_scheme,
        host=parsed.raw_host,
        port=parsed.port or _DEFAULT_PORTS[scheme],
        path=parsed.raw_path,
        netloc=parsed.netloc,
    )


class Targets:
    """Judges URLs and addresses by the settings."""

    def __init__(self, settings: Settings, resolve: Resolve = system_resolve) -> None:
        self._allowed = settings.allowed_networks
        self._schemes = ("https", "http") if settings.webhook_allow_http else ("https",)
        self.resolve = resolve

    async def checked_url(self, url: str) -> str:
        """The normal form of an operator's URL, once its host was found to be reachable.

        Raises Invalid that names what is wrong: the form, the scheme, or the address that the host resolves to.
        """
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, ValueError) as error:
            raise _invalid(f"is not a URL: {error}") from None
        try:
            self.require_scheme(parsed.scheme)
        except TargetRefusedError as error:
            raise _invalid(str(error)) from None
        if not parsed.host:
            raise _invalid("names no host")
        if parsed.port is not None and not 0 < parsed.port <= MAX_PORT:
            raise _invalid(f"has the port {parsed.port}, which is not between 1 and {MAX_PORT}")
        if parsed.userinfo:
            raise _invalid("holds a user name or password; the signature tells receivers who sends")
        if parsed.fragment or "#" in url:
            raise _invalid("has a fragment, which is never sent; leave out what follows the #")
        if len(str(parsed)) > MAX_URL_LENGTH:
            raise _invalid(f"is longer than {MAX_URL_LENGTH} characters")
        target = target_of(str(parsed))
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                await self.addresses(target.name, target.port)
        except TargetRefusedError as error:
            raise _invalid(str(error)) from None
        except TimeoutError:
            raise _invalid(f"names the host '{target.name}', whose address could not be found in time") from None
        return str(parsed)

    def require_scheme(self, scheme: str) -> None:
        """Raises TargetRefusedError for anything but https, or http where the settings allow it."""
        if scheme not in self._schemes:
            also = "; MUSTER_WEBHOOK_ALLOW_HTTP=true lets http pass" if scheme == "http" else ""
            raise TargetRefusedError(f"has an address that begins with '{scheme[:20]}:' and not with https://{also}")

    async def addresses(self, host: str, port: int) -> Sequence[Address]:
        """The addresses of a host, each of which may be reached. Raises TargetRefusedError otherwise."""
        try:
            addresses = await self.resolve(host, port)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not a host name"
            raise TargetRefusedError(f"names the host '{host}', which can't be resolved: {reason}") from None
        for address in addresses:
            refusal = refusal_of(address, self._allowed)
            if refusal is not None:
                shown = f"'{host}'" if str(address) == host else f"'{host}' at {address}"
                raise TargetRefusedError(
                    f"names the host {shown}, which is {refusal}; MUSTER_WEBHOOK_ALLOWED_NETWORKS can allow it"
                )
        if not addresses:
            raise TargetRefusedError(f"names the host '{host}', which has no address")
        return addresses


def _invalid(detail: str) -> Invalid:
    return Invalid(f"#/url: {detail}", [{"pointer": "#/url", "detail": detail}])


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to hosts by addresses that were judged. TLS still asks for the certificate of the host's name."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve, judge, and connect to the first address that answers."""
        addresses = await self._targets.addresses(host, port)
        for address in addresses[:-1]:
            try:
                return await self._network.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._network.connect_tcp(str(addresses[-1]), port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        """Wait between retries of the pool, of which there are none."""
        await self._network.sleep(seconds)
