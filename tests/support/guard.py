"""A process that outlives the test process by a moment and clears up behind it.

Test processes end in ways that run no clean-up code: SIGKILL, a crash, a closed terminal. The guard holds
the reading end of a pipe whose writing end only the test process has. When the pipe ends, whatever the cause,
it signals the processes and removes the folders it was told about.

The file is run as a script, without the packages around it, so it uses the standard library only.
"""

import atexit
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

GRACE_SECONDS = 5.0


class Guard:
    """The test process's end of the pipe; one guard process serves all of a test process's servers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()

    def watch(self, pid: int, signal_number: int = signal.SIGTERM) -> None:
        """Have the process `pid` signalled, then killed, when this process ends."""
        self._tell({"watch": pid, "signal": int(signal_number)})

    def forget(self, pid: int) -> None:
        """Take the process `pid` off the list, once it has ended and its number may be used again."""
        self._tell({"forget": pid})

    def remove_at_end(self, folder: Path) -> None:
        """Have `folder` removed when this process ends, if it is still there."""
        self._tell({"remove": str(folder)})

    def keep(self, folder: Path) -> None:
        """Take `folder` off the list of what to remove."""
        self._tell({"keep": str(folder)})

    def close(self) -> None:
        """End the guard now, as if this process had ended, and wait until it has cleared up."""
        with self._lock:
            process, self._process = self._process, None
        if process is None or os.getpid() != self._owner:
            return
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        process.wait(timeout=4 * GRACE_SECONDS)

    def _tell(self, message: dict[str, object]) -> None:
        line = json.dumps(message).encode() + b"\n"
        with self._lock:
            if self._process is None:
                self._process = _start()
                self._owner = os.getpid()
                atexit.register(self.close)
            stream: IO[bytes] | None = self._process.stdin
            if stream is None:
                raise RuntimeError("the guard process was started without a pipe")
            stream.write(line)
            stream.flush()


def _start() -> subprocess.Popen[bytes]:
    # A session of its own: an interrupt typed at the terminal is for the tests; the guard acts after them.
    return subprocess.Popen(
        [sys.executable, "-I", "-S", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/" if os.name == "posix" else None,
    )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _end(watched: dict[int, int]) -> None:
    for pid, signal_number in watched.items():
        with contextlib.suppress(OSError):
            os.kill(pid, signal_number)
    deadline = time.monotonic() + GRACE_SECONDS
    while any(_alive(pid) for pid in watched) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in watched:
        with contextlib.suppress(OSError):
            os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))


def run(stream: IO[bytes]) -> None:
    """Follow the orders on `stream` until it ends, then clear up."""
    watched: dict[int, int] = {}
    folders: dict[str, None] = {}
    for line in stream:
        message = json.loads(line)
        if "watch" in message:
            watched[message["watch"]] = message["signal"]
        elif "forget" in message:
            watched.pop(message["forget"], None)
        elif "remove" in message:
            folders[message["remove"]] = None
        elif "keep" in message:
            folders.pop(message["keep"], None)
    _end(watched)
    for folder in folders:
        for _attempt in range(50):
            shutil.rmtree(folder, ignore_errors=True)
            if not Path(folder).exists():
                break
            time.sleep(0.1)


if __name__ == "__main__":
    for ignored in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, ignored):
            signal.signal(getattr(signal, ignored), signal.SIG_IGN)
    run(sys.stdin.buffer)
