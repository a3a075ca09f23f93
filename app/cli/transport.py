"""The HTTP connection itself: trust, proxies, time-outs, and what its failures mean to an operator."""

import contextlib
import ssl
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from app.cli.credentials import Endpoint
from app.cli.failures import UnreachableError, UsageError

if TYPE_CHECKING:
    import httpx


def connect(
    endpoint: Endpoint, *, headers: Mapping[str, str], wire: "httpx.BaseTransport | None" = None
) -> "httpx.Client":
    """Open a client for `endpoint`; `wire` stands in for the network."""
    import httpx

    try:
        return httpx.Client(
            headers=dict(headers),
            timeout=endpoint.timeout_seconds,
            verify=_trust(endpoint),
            # A proxy of the environment can't reach this machine's loopback.
            trust_env=not endpoint.is_local,
            transport=wire,
        )
    except (ValueError, ImportError) as error:
        raise UsageError(
            f"the proxy that the environment names can't be used: {error}",
            remedy="check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, or name Muster's host in NO_PROXY",
        ) from None


@contextlib.contextmanager
def failures_explained(endpoint: Endpoint) -> Iterator[None]:
    """Turn what httpx raises into UnreachableError with a remedy."""
    import httpx

    try:
        yield
    except httpx.TimeoutException:
        raise UnreachableError(
            f"no answer from {endpoint.url} within {endpoint.timeout_seconds:g} s",
            remedy="check that the control plane runs (/readyz tells what it lacks), or allow more --timeout",
        ) from None
    except httpx.ConnectError as error:
        raise _not_connected(endpoint, str(error)) from None
    except httpx.InvalidURL as error:
        raise UsageError(f"'{endpoint.url}' is not a URL of Muster: {error}") from None
    except httpx.RequestError as error:
        reason = str(error) or type(error).__name__
        remedy = "the control plane may be restarting, or the URL may need https; try again"
        raise UnreachableError(f"the connection to {endpoint.url} broke: {reason}", remedy=remedy) from None


def _trust(endpoint: Endpoint) -> ssl.SSLContext:
    if endpoint.ca_file is not None:
        try:
            return ssl.create_default_context(cafile=endpoint.ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = "it holds no PEM certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise UsageError(f"the CA file {endpoint.ca_file} can't be used: {reason}") from None
    if endpoint.url.startswith("https:"):
        return ssl.create_default_context()
    # Nothing is trusted where no TLS is meant: loading the system's certificates would only cost time.
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _not_connected(endpoint: Endpoint, reason: str) -> UnreachableError:
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return UnreachableError(
            f"the certificate of {endpoint.url} is not trusted: {reason}",
            remedy="name the CA that signed it with --ca-file or MUSTER_CA_FILE",
        )
    if "SSL" in reason:
        return UnreachableError(
            f"{endpoint.url} does not speak TLS as expected: {reason}",
            remedy="perhaps it is http:// and not https://",
        )
    if endpoint.is_local:
        remedy = "start it with `muster serve`, or name another with --url or MUSTER_URL"
    else:
        remedy = "check the URL (--url, MUSTER_URL), that the control plane runs there, and the way to it"
    return UnreachableError(f"nothing answers at {endpoint.url}: {reason}", remedy=remedy)
