"""Where the state is kept: one file that only its owner can read, replaced as a whole or not at all."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from .state import State, StateError

STATE_FILE_NAME = "state.json"

_log = logging.getLogger("muster.agent.store")


class StateStore(Protocol):
    """Keeps the state of one agent."""

    def load(self) -> State | None:
        """Return the state, None if there is none yet. Raises StateError if there is one but unusable."""
        ...

    def save(self, state: State) -> None:
        """Replace the state; when this returns it is durable. Raises StateError and keeps the old one."""
        ...


class FileStateStore:
    """Keeps the state in ``state.json`` of a folder, mode 0600, written atomically and durably."""

    def __init__(self, folder: Path) -> None:
        """Take the folder; it is made, mode 0700, with the first save or by ``create_folder``."""
        self.folder = folder
        self.path = folder / STATE_FILE_NAME

    def create_folder(self) -> None:
        """Make the folder if it is missing. Raises StateError if that fails."""
        try:
            if not self.folder.is_dir():
                self.folder.mkdir(parents=True, mode=0o700)
                _restrict_on_windows(self.folder)
        except OSError as error:
            raise StateError(f"can not make the state folder {self.folder}: {error.strerror}") from error

    def load(self) -> State | None:
        """Return the state, None if the file does not exist.

        Raises StateError if the file can not be read or its content is damaged. It is never mended here.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(f"can not read {self.path}: {error.strerror}") from error
        try:
            return State.from_document(json.loads(content))
        except (ValueError, OverflowError, RecursionError) as error:
            # The defect is named by member or position; content could be a secret.
            defect = f"no valid JSON at byte {error.pos}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise StateError(
                f"{self.path} is damaged ({defect}). It was left as it is. Restore it from a backup, or "
                "register again with --force, which keeps the damaged file aside; to stay the same server, "
                "give the host id that the control plane shows for it with --host-id"
            ) from error

    def save(self, state: State) -> None:
        """Replace the file. Raises StateError and leaves the old file whole if that fails."""
        self.create_folder()
        content = json.dumps(state.to_document(), indent=2, ensure_ascii=False) + "\n"
        try:
            write_private_file(self.path, content)
        except OSError as error:
            raise StateError(f"can not write {self.path}: {error.strerror}") from error

    def set_aside(self, suffix: str) -> Path:
        """Rename the present file to ``state.json.<suffix>`` and return its new path. Raises StateError."""
        aside = self.path.with_name(f"{STATE_FILE_NAME}.{suffix}")
        try:
            self.path.replace(aside)
        except OSError as error:
            raise StateError(f"can not rename {self.path} to {aside}: {error.strerror}") from error
        return aside


class MemoryStateStore:
    """Keeps the state in memory, for simulated fleets. Goes through the document form like a file does."""

    def __init__(self, state: State | None = None) -> None:
        """Start with a state or with none."""
        self._document = None if state is None else json.dumps(state.to_document())

    def load(self) -> State | None:
        """Return the state, None if none was saved."""
        return None if self._document is None else State.from_document(json.loads(self._document))

    def save(self, state: State) -> None:
        """Replace the state."""
        self._document = json.dumps(state.to_document())


def write_private_file(path: Path, content: str) -> None:
    """Write text so that only the owner can read it and a crash leaves the old content or the new.

    Raises OSError; then the old file is untouched. Callers hold the lock of the state folder: the temporary
    file beside ``path`` has a fixed name, so that a crash leaves at most one behind.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="\n") as file:  # noqa: PTH123 - a descriptor
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    # Windows can not open folders; some network file systems can not sync them.
    if sys.platform == "win32":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        return
    finally:
        os.close(descriptor)


def _restrict_on_windows(folder: Path) -> None:
    if sys.platform != "win32":
        return
    # Folders in %ProgramData% are readable for every user of the machine, and modes do not change that.
    # The two numbers are SYSTEM and Administrators in every language of Windows.
    account = f"{os.environ.get('USERDOMAIN', '')}\\{os.environ.get('USERNAME', '')}".strip("\\")
    grants = [f"{who}:(OI)(CI)F" for who in ("*S-1-5-18", "*S-1-5-32-544", account) if who]
    command = ["icacls", str(folder), "/inheritance:r", "/grant:r", *grants]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=30)  # noqa: S603 - fixed program
    except (OSError, subprocess.SubprocessError) as error:
        _log.warning("could not restrict who may read %s: %s", folder, type(error).__name__)
