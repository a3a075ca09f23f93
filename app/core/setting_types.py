"""Types of settings that are more than a number or a word: how each is read, and what is said of a wrong one."""

import base64
import ipaddress
import re
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

SECRET_KEY_BYTES = 32
MAX_ADDRESS_LENGTH = 254

_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
# RFC 5322's dot-atom: plain ASCII, nothing quoted, no room for a second header or recipient.
_MAIL_ADDRESS = re.compile(rf"(?=.{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class LogFormat(StrEnum):
    """How log lines are written."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The least severe log line that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class MigrateAtStart(StrEnum):
    """When `muster serve` migrates the database itself."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class SmtpTls(StrEnum):
    """How the connection to the mail server is protected."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


def parts(text: str) -> list[str]:
    """The entries of a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def networks_in(text: str) -> list[Network]:
    """The networks of a comma-separated list. Raises ValueError naming the entry that is none."""
    found: list[Network] = []
    for part in parts(text):
        try:
            found.append(ipaddress.ip_network(part))
        except ValueError as error:
            raise ValueError(f"has '{part}', which is no network ({error}); write 10.20.0.0/16") from None
    return found


def is_mail_address(text: str) -> bool:
    """Whether `text` is a plain ASCII mail address of at most 254 characters."""
    return len(text) <= MAX_ADDRESS_LENGTH and _MAIL_ADDRESS.fullmatch(text) is not None


def _networks(text: str) -> str:
    networks_in(text)
    return text


def _secret_keys(value: SecretStr | None) -> SecretStr | None:
    if value is None or not parts(value.get_secret_value()):
        return None
    for key in parts(value.get_secret_value()):
        try:
            length = len(base64.b64decode(key, altchars=b"-_", validate=True))
        except ValueError:
            length = 0
        if length != SECRET_KEY_BYTES:
            raise ValueError(
                f"is not {SECRET_KEY_BYTES} bytes in URL-safe base64; make it with: openssl rand -base64 32 | tr +/ -_"
            )
    return value


def _mail_address(text: str) -> str:
    if text and not is_mail_address(text):
        raise ValueError("is not a mail address; write muster@example.com")
    return text


Networks = Annotated[str, AfterValidator(_networks)]
SecretKeys = Annotated[SecretStr | None, AfterValidator(_secret_keys)]
MailAddress = Annotated[str, AfterValidator(_mail_address)]

CLIENT_VARIABLES = {
    "MUSTER_URL",
    "MUSTER_TOKEN",
    "MUSTER_TOKEN_FILE",
    "MUSTER_CA_FILE",
    "MUSTER_VAULT",
    "MUSTER_AGENT_STATE_DIR",
    "MUSTER_AGENT_VERSION",
    "MUSTER_TEST_PG_BIN",
}
"""Variables of the command line, the agent and the tests, which share the prefix."""
