"""The files that hold what a registration has to prove: a registration key, or a passphrase."""

import json
from dataclasses import dataclass, field
from pathlib import Path

_LONGEST_FILE_BYTES = 65536
_LONGEST_SECRET = 4096


@dataclass(frozen=True)
class RegistrationKey:
    """A registration key and, where the file tells it, the control plane it belongs to."""

    key: str = field(repr=False)
    url: str | None = None


def read_registration_key(path: Path) -> RegistrationKey:
    """Return the registration key in a file.

    The file holds the bare key (``id.secret``), or is a ``.vaultcredentials`` file: a JSON object with
    ``registrationKey`` and optionally ``url``. Raises ValueError naming the file, never its content.
    """
    text = read_small_text(path)
    if not text.startswith("{"):
        return RegistrationKey(_secret(text, path))
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{path} starts like a JSON document but is none") from None
    key, url = document.get("registrationKey"), document.get("url")
    if not isinstance(key, str):
        raise ValueError(f"{path} has no member registrationKey")  # noqa: TRY004 - a defect of the file
    return RegistrationKey(_secret(key.strip(), path), url if isinstance(url, str) and url else None)


def read_passphrase(path: Path) -> str:
    """Return the passphrase in a file, without white space around it. Raises ValueError naming the file."""
    return _secret(read_small_text(path), path)


def read_small_text(path: Path) -> str:
    """Return the text of a file without white space around it. Raises ValueError naming the file."""
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"can not read {path}: {error.strerror}") from error
    if len(content) > _LONGEST_FILE_BYTES:
        raise ValueError(f"{path} is too large to hold a secret")
    try:
        # Windows editors put a byte order mark in front.
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text file in UTF-8") from None


def _secret(text: str, path: Path) -> str:
    if not text:
        raise ValueError(f"{path} is empty")
    if len(text) > _LONGEST_SECRET or not text.isprintable():
        raise ValueError(f"{path} must hold the secret in a single line")
    return text
