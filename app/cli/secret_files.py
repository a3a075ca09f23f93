"""Files that hold a secret: new, for their owner only, and ready before the secret exists."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from app.cli.failures import CommandError, UsageError

OWNER_ONLY = 0o600


@contextlib.contextmanager
def new_secret_file(path: Path) -> Iterator[IO[str]]:
    """Open the new file `path` with mode 0600; it disappears again if the block fails.

    It is opened before the secret is asked for: one that can't be written down would be lost.
    Raises UsageError if `path` exists (the file may hold a secret that is still needed) or can't be made.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    except FileExistsError:
        raise UsageError(f"{path} exists already", remedy="name another file, or remove it first") from None
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise CommandError(
            f"{path} could not be written: {error.strerror}",
            remedy="the secret is lost; make room, then ask for another",
        ) from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def secret_in(document: Mapping[str, Any], member: str) -> str:
    """The secret that an answer hands out as `member`.

    Raises CommandError where it is missing: nobody should keep an empty secret.
    """
    secret = document.get(member)
    if not isinstance(secret, str) or not secret:
        raise CommandError(f"the answer holds no {member}", remedy="revoke what was made and make another")
    return secret
