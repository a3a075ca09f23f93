"""Where the command line finds the API and the token it presents, and nothing else about them."""

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from app.cli.failures import CommandError, ExitCode, UsageError

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT_SECONDS = 30.0
DEFAULT_DATA_DIR = "data"
ADMIN_TOKEN_FILE = "admin-token"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The API to speak to. None is 'not given'."""

    url: str = DEFAULT_URL
    token_file: Path | None = None
    ca_file: Path | None = None
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS

    @property
    def is_local(self) -> bool:
        """Whether the URL names this machine's loopback."""
        return is_loopback(urlsplit(self.url).hostname or "")


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine, however it is written."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_url(url: str) -> str:
    """The base URL without a trailing slash.

    Raises UsageError for one that is not http(s) with a host, or that carries a password.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"'{url}' is not a URL of Muster", remedy=f"give it as in {DEFAULT_URL}")
    if parts.username or parts.password:
        raise UsageError(
            f"the URL of {parts.hostname} carries a user name or password",
            remedy="take it out; the token goes into a file (--token-file) or MUSTER_TOKEN",
        )
    return url.rstrip("/")


def find_token(endpoint: Endpoint) -> str:
    """The API token: `--token-file`, MUSTER_TOKEN, MUSTER_TOKEN_FILE, or this machine's first admin token.

    Raises CommandError naming every place that was looked at, never what stands in it.
    """
    if endpoint.token_file is not None:
        return _read_token(endpoint.token_file)
    token = os.environ.get("MUSTER_TOKEN", "").strip()
    if token:
        return _checked_token(token, "MUSTER_TOKEN")
    named = os.environ.get("MUSTER_TOKEN_FILE")
    if named:
        return _read_token(Path(named))
    remedy = "set MUSTER_TOKEN, or name a file that holds the token with --token-file"
    if not endpoint.is_local:
        raise CommandError(f"there is no API token for {endpoint.url}", remedy=remedy, exit_code=ExitCode.DENIED)
    first = Path(os.environ.get("MUSTER_DATA_DIR") or DEFAULT_DATA_DIR) / ADMIN_TOKEN_FILE
    try:
        return _checked_token(first.read_text(encoding="utf-8").strip(), str(first))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise CommandError(
            f"there is no API token: MUSTER_TOKEN is not set, and {first} can't be read ({reason})",
            remedy=f"{remedy}; on the server's machine, run from its folder or set MUSTER_DATA_DIR",
            exit_code=ExitCode.DENIED,
        ) from None


def _read_token(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise UsageError(f"the token file {path} can't be read: {reason}") from None
    return _checked_token(text.strip(), str(path))


def _checked_token(token: str, source: str) -> str:
    """The token as it is; the HTTP layer's own complaint about a bad one would print it."""
    if not token:
        raise UsageError(f"{source} is empty; it should hold an API token")
    if not all("!" <= character <= "~" for character in token):
        raise UsageError(f"what {source} holds is not an API token: it has blanks or other than ASCII characters")
    return token
