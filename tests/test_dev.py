"""Which Python `./dev` makes its environment with."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

DEV = Path(__file__).parents[1] / "dev"
VERSION = f"{sys.version_info.major} {sys.version_info.minor}"

Build = Callable[[str, str], Path]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Puts a `python3` into a folder of that name, which says of itself when it is measured what it is told to."""

    def put(folder: str, says: str) -> Path:
        path = tmp_path / folder / "python3"
        path.parent.mkdir()
        path.write_text(
            "#!/bin/sh\n"
            f'case "$2" in *process_time*) {says} ;; esac\n'
            f'exec {shlex.quote(str(Path(sys.executable).resolve()))} "$@"\n'
        )
        path.chmod(0o755)
        return path

    return put


def found(*folders: Path, python: str = "") -> str:
    """The Python that is found with these folders at the head of the PATH."""
    functions = DEV.read_text().split("find_python() {", 1)[1].split("# set_up <lock file>", 1)[0]
    path = os.pathsep.join(str(build.parent) for build in folders)
    answer = subprocess.run(
        ["/bin/sh", "-euc", f"find_python() {{{functions}\nPATH={shlex.quote(path)}\nfind_python"],
        env={"PATH": path, "PYTHON": python},
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout.strip()


def measured(seconds: float, version: str = VERSION) -> str:
    """What a build prints when it is measured."""
    return f"echo {version} {seconds}; exit"


def test_a_clearly_quicker_build_of_the_same_version_is_taken(build: Build) -> None:
    slow, quick, quicker = (build(name, measured(took)) for name, took in (("a", 0.3), ("b", 0.2), ("c", 0.1)))
    assert found(slow, quick, quicker) == str(quicker)
    assert found(slow, quick) == str(quick)


def test_the_first_one_stays_where_others_are_hardly_quicker_or_of_another_version_or_broken(build: Build) -> None:
    first = build("a", measured(0.1))
    others = build("b", measured(0.095)), build("c", measured(0.01, "3 99")), build("d", "exit 1")
    assert found(first, *others) == "python3"
    assert found(first, build("f", "echo Welcome; exit")) == "python3", "what it says makes no sense"
    assert found(build("e", "exit 1"), others[0]) == "python3", "that nothing is known of the first is no reason"


def test_a_python_that_is_named_is_taken(build: Build) -> None:
    slow, quick = build("a", measured(0.3)), build("b", measured(0.1))
    assert found(slow, quick, python=str(slow)) == str(slow)
