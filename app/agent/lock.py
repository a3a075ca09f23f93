"""One agent for one state folder: two of them would send the same identity from two mouths."""

import os
import sys
from pathlib import Path
from types import TracebackType

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_FILE_NAME = "agent.lock"

# Windows locks bytes against reading too, so the locked byte lies far beyond the process id in the file.
_LOCKED_BYTE = 1 << 30


class AlreadyRunningError(Exception):
    """Another process holds the state folder."""


class StateLock:
    """A lock on a state folder that the operating system frees with the process, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Take the folder; nothing is opened before the lock is entered."""
        self._path = folder / LOCK_FILE_NAME
        self._descriptor: int | None = None

    def __enter__(self) -> "StateLock":  # noqa: PYI034 - Self came with Python 3.11
        """Hold the lock. Raises AlreadyRunningError naming the holder, OSError if the folder is unusable."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(descriptor)
        except (BlockingIOError, PermissionError):
            holder = os.read(descriptor, 20)
            os.close(descriptor)
            process = holder.decode("ascii", "replace").strip() or "unknown"
            raise AlreadyRunningError(
                f"another agent (process {process}) works on {self._path.parent}: stop it first"
            ) from None
        except OSError:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the lock."""
        if self._descriptor is not None:
            # The file stays: deleting it would let two processes hold locks on two files of one name.
            os.close(self._descriptor)
            self._descriptor = None


def is_locked(folder: Path) -> bool:
    """Return whether an agent works on the folder at present; False where that can not be found out."""
    try:
        descriptor = os.open(folder / LOCK_FILE_NAME, os.O_RDWR)
    except OSError:
        return False
    try:
        _lock(descriptor)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
