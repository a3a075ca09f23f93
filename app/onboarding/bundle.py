"""The agent package: one file with the agent and all it needs, which a plain Python 3.10 or later runs.

Its bytes follow from the version and from what is installed here alone: entries in order, one fixed time, nothing
compressed (compressors differ). So replicas of one installation serve the same file with the same SHA-256.
"""

import hashlib
import importlib.metadata
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import app
from app import __version__

DISTRIBUTIONS = (
    "anyio",
    "certifi",
    "exceptiongroup",
    "h11",
    "httpcore",
    "httpx",
    "idna",
    "typing_extensions",
)
"""httpx and what it needs on Python 3.10 and later, all of it pure Python. Held against their own declarations by a
test."""
STAMP = "app/agent/agent_version.txt"
_AGENT = Path(app.__file__).parent / "agent"
_TIME = (1980, 1, 1, 0, 0, 0)
_READABLE = 0o100644 << 16
_UNIX = 3
_AGENT_FILES = {".py", ".service"}
_LEFT_OUT = {".pyc", ".pyi", ".typed"}
_STARTER = """\
import sys

if sys.version_info < (3, 10):
    sys.exit("the Muster agent needs Python 3.10 or newer; this is %d.%d" % sys.version_info[:2])

from app.agent.command import main

sys.exit(main(prog="muster-agent"))
"""


class Package(NamedTuple):
    """A built package."""

    file_name: str
    content: bytes
    sha256: str


def file_name_of(version: str) -> str:
    """The name under which the package of a version is downloaded."""
    return f"muster-agent-{version}.pyz"


def build(version: str) -> Package:
    """The package stamped with `version`. Takes a quarter of a second: call it in a thread.

    Raises importlib.metadata.PackageNotFoundError when something it bundles is not installed.
    """
    entries = dict(_entries())
    entries[STAMP] = f"{version}\n".encode()
    buffer = io.BytesIO()
    buffer.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(entries.items()):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system = _UNIX
            entry.external_attr = _READABLE
            archive.writestr(entry, content)
    content = buffer.getvalue()
    return Package(file_name_of(version), content, hashlib.sha256(content).hexdigest())


def _entries() -> Iterator[tuple[str, bytes]]:
    yield "__main__.py", _STARTER.encode()
    yield "app/__init__.py", (_AGENT.parent / "__init__.py").read_bytes()
    for path in _AGENT.rglob("*"):
        if path.suffix in _AGENT_FILES and path.is_file():
            yield f"app/agent/{path.relative_to(_AGENT).as_posix()}", path.read_bytes()
    # The agent tells its own version by this; the distribution's own description is a whole README.
    metadata = f"Metadata-Version: 2.1\nName: muster\nVersion: {__version__}\nLicense-Expression: Apache-2.0\n"
    yield f"muster-{__version__}.dist-info/METADATA", metadata.encode()
    for path, name in _files("muster"):
        if ".dist-info/licenses/" in name:
            yield name, path.read_bytes()
    for distribution in DISTRIBUTIONS:
        for path, name in _files(distribution):
            if _belongs(name):
                yield name, path.read_bytes()


def _files(distribution: str) -> Iterator[tuple[Path, str]]:
    for file in importlib.metadata.distribution(distribution).files or []:
        yield Path(str(file.locate())), file.as_posix()


def _belongs(name: str) -> bool:
    """Modules, data, and of the description what licenses ask for; no scripts and no installer's notes."""
    if name.startswith("..") or "__pycache__" in name or Path(name).suffix in _LEFT_OUT:
        return False
    folder, _, rest = name.partition(".dist-info/")
    return not rest or rest == "METADATA" or rest.startswith("licenses/") if folder != name else True
