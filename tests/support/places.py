"""Where servers may keep their temporary files, and which user may have to reach them there."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import psutil

from tests.support.processes import Identity

MEMORY = Path("/dev/shm")
MEMORY_BYTES_WANTED = 2**30


class NoPlaceError(RuntimeError):
    """The machine has no user or no folder to run a server with; the message says which."""


@cache
def unprivileged_identity() -> Identity | None:
    """Return the user to run servers as that refuse to run as root; None when this process's own will do."""
    if os.name != "posix" or os.geteuid() != 0:
        return None
    import pwd

    for name in ("nobody", "daemon"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Identity(name, entry.pw_uid, entry.pw_gid)
    raise NoPlaceError("PostgreSQL does not run as root, and there is no user nobody or daemon")


@cache
def temporary_base(on_disk: bool) -> Path:
    """Return the folder to make temporary ones in, which the unprivileged user can reach too.

    `on_disk` asks for one that is not kept in memory, where the machine has one.
    """
    usual = list(dict.fromkeys([Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]))
    if on_disk:
        bases = sorted(usual, key=is_in_memory)
    elif has_room_in_memory():
        bases = [MEMORY, *usual]
    else:
        bases = usual
    identity = unprivileged_identity()
    for base in bases:
        if base.is_dir() and run_as(identity, "/bin/sh", "-c", 'cd "$1"', "sh", str(base)) is None:
            return base
    tried = ", ".join(str(base) for base in bases)
    raise NoPlaceError(f"no temporary folder can be reached (tried {tried})")


def is_in_memory(folder: Path) -> bool:
    """Say whether the files in `folder` are kept in memory, so that no flush of theirs reaches a disk."""
    return file_system(folder) in {"tmpfs", "ramfs"}


def file_system(folder: Path) -> str:
    """Return the type of the file system that holds `folder`, or an empty string when it cannot be told."""
    place = folder.resolve()
    mounts = {Path(mount.mountpoint): mount.fstype for mount in psutil.disk_partitions(all=True)}
    return next((mounts[parent] for parent in (place, *place.parents) if parent in mounts), "")


def run_as(identity: Identity | None, *arguments: str) -> str | None:
    """Run a program as a user; return None when it succeeds, else why it did not."""
    try:
        answer = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            cwd="/",
            user=None if identity is None else identity.uid,
            group=None if identity is None else identity.gid,
            extra_groups=None if identity is None else [],
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if answer.returncode == 0 else answer.stderr.strip() or f"ended with {answer.returncode}"


def has_room_in_memory() -> bool:
    """Whether the machine keeps a folder in memory and has a gigabyte for it."""
    if not MEMORY.is_dir() or not is_in_memory(MEMORY):
        return False
    available = min(shutil.disk_usage(MEMORY).free, int(psutil.virtual_memory().available))
    return available >= MEMORY_BYTES_WANTED and os.access(MEMORY, os.W_OK)
