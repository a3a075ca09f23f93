"""Which versions this agent reports.

The agent version is the version of the Unified Setup bits that the control plane judges compatibility by.
It is not Muster's own version, which travels in the User-Agent.
"""

import importlib.metadata
import importlib.resources
import os
import re

DEFAULT_AGENT_VERSION = "9.62.7096.1"
STAMP_FILE_NAME = "agent_version.txt"
AGENT_VERSION_VARIABLE = "MUSTER_AGENT_VERSION"

_FOUR_PARTS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){3}", re.ASCII)


def _muster_version() -> str:
    try:
        return importlib.metadata.version("muster")
    except importlib.metadata.PackageNotFoundError:
        return "0"


MUSTER_VERSION = _muster_version()


def is_agent_version(text: str) -> bool:
    """Return whether ``text`` is a version of four numeric parts, such as ``9.62.7096.1``."""
    return _FOUR_PARTS.fullmatch(text) is not None


def installed_agent_version() -> str:
    """Return the version stamped in this package, else that of the environment, else the built-in one.

    Raises ValueError, naming the source, if the stamp or the variable is no version of four parts.
    """
    # importlib.resources reads the stamp from inside a single-file package too.
    stamp = importlib.resources.files(__package__ or "app.agent").joinpath(STAMP_FILE_NAME)
    if stamp.is_file():
        version, source = stamp.read_text(encoding="utf-8").strip(), STAMP_FILE_NAME
    elif os.environ.get(AGENT_VERSION_VARIABLE):
        version, source = os.environ[AGENT_VERSION_VARIABLE].strip(), AGENT_VERSION_VARIABLE
    else:
        return DEFAULT_AGENT_VERSION
    if not is_agent_version(version):
        raise ValueError(f"{source} holds {version!r}, which is not a version like {DEFAULT_AGENT_VERSION}")
    return version
