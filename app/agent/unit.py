"""The systemd unit that keeps the agent running on a Linux server."""

import importlib.resources
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

UNIT_FILE_NAME = "muster-agent.service"
_SYSTEM_STATE_ROOT = PurePosixPath("/var/lib")


def render_unit(command: Sequence[str], state_folder: PurePosixPath) -> str:
    """Return the unit that runs ``command`` (program first) on the state folder, both absolute."""
    template = importlib.resources.files(__package__ or "app.agent").joinpath(UNIT_FILE_NAME)
    words = [*command, "run", "--state-dir", str(state_folder)]
    return (
        template.read_text(encoding="utf-8")
        .replace("@EXEC_START@", " ".join(quote_word(word) for word in words))
        .replace("@STATE_DIRECTORY@", "\n".join(_state_lines(state_folder)))
    )


def own_command(prog: str) -> list[str]:
    """Return the words that start this agent again, the program as an absolute path."""
    package = running_package()
    if package is not None:
        return [sys.executable, str(package)]
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return [sys.executable, "-m", __package__ or "app.agent"]
    if program.suffix == ".py":
        return [sys.executable, str(program.resolve())]
    return [str(program.resolve()), *prog.split()[1:]]


def running_package() -> Path | None:
    """Return the single-file package that this program runs from, None if it is installed otherwise."""
    # The modules of a package lie in folders that do not exist, below a file that does.
    return next((place for place in Path(__file__).parents if place.is_file()), None)


def quote_word(word: str) -> str:
    """Return a word as systemd reads it in a command line."""
    escaped = word.replace("%", "%%").replace("$", "$$")
    if escaped and not any(letter in " \t\"'\\;" for letter in escaped):
        return escaped
    return '"' + escaped.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _state_lines(state_folder: PurePosixPath) -> list[str]:
    if state_folder.is_relative_to(_SYSTEM_STATE_ROOT) and state_folder != _SYSTEM_STATE_ROOT:
        relative = str(state_folder.relative_to(_SYSTEM_STATE_ROOT))
        if not any(letter.isspace() for letter in relative):
            return [f"StateDirectory={relative.replace('%', '%%')}", "StateDirectoryMode=0700"]
    return [f"ReadWritePaths={quote_word(str(state_folder))}"]
