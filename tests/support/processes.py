"""Servers in processes of their own: started with a log, waited for, stopped or killed, never left behind."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.guard import Guard

guard = Guard()

# Below the range from which systems take the local ports of outgoing connections (Linux from 32768, macOS and
# Windows from 49152), so that a server which is down for a moment does not lose its port to a client.
_PORTS = range(20_000, 32_000)
LOOK_SECONDS = 0.03
"""Between looks whether a process is ready: looking takes a processor away from it."""


class ProcessFailedError(RuntimeError):
    """A server did not start or did not get ready; the message carries the end of its log."""


@dataclass(frozen=True)
class Identity:
    """The user a process runs as, with that user's own group and no others."""

    name: str
    uid: int
    gid: int


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port nobody listens on at this moment; another process may be faster in taking it."""
    for port in random.sample(_PORTS, 200):
        with socket.socket() as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise ProcessFailedError(f"no free port on {host} between {_PORTS.start} and {_PORTS.stop}")


def accepts_connections(port: int, host: str = "127.0.0.1") -> bool:
    """Say whether somebody listens on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


class ChildProcess:
    """A process that ends at the latest when this one does, even when this one is killed."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._watched = True
        self.log = log

    @classmethod
    def start(
        cls,
        arguments: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        identity: Identity | None = None,
        last_signal: int = signal.SIGTERM,
    ) -> "ChildProcess":
        """Start `arguments` with its output appended to `log`.

        `environment` replaces this process's own; `identity` is the user to run as; `last_signal` is what the
        process gets when this one has ended without stopping it.
        """
        with log.open("ab") as output:
            process = subprocess.Popen(
                [str(argument) for argument in arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=None if environment is None else dict(environment),
                user=None if identity is None else identity.uid,
                group=None if identity is None else identity.gid,
                extra_groups=None if identity is None else [],
                # A session of its own: an interrupt typed at the terminal is for the tests, which stop it.
                start_new_session=True,
            )
        guard.watch(process.pid, last_signal)
        return cls(process, log)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How the process ended; None while it runs."""
        if self._watched and self._process.poll() is not None:
            self._watched = False
            guard.forget(self.pid)
        return self._process.returncode

    def is_running(self) -> bool:
        """Say whether the process still runs."""
        return self.returncode is None

    def send(self, signal_number: int) -> None:
        """Send a signal to the process alone."""
        self._process.send_signal(signal_number)

    def wait(self, timeout: float) -> int | None:
        """Wait for the end of the process; None when it still runs after `timeout` seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
        return self.returncode

    def wait_until(self, ready: Callable[[], bool], timeout: float, what: str) -> None:
        """Try `ready` until it is true; raise with the log's end when the process or the time ends first."""
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.is_running():
                raise ProcessFailedError(f"{what} ended with {self.returncode}:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise ProcessFailedError(f"{what} was not ready after {timeout:g} s:\n{self.log_tail()}")
            time.sleep(LOOK_SECONDS)

    def stop(self, timeout: float = 10.0, signal_number: int = signal.SIGTERM) -> int | None:
        """Ask the process to end; kill it and what it started when it still runs after `timeout` seconds."""
        if self.is_running():
            self.send(signal_number)
        code = self.wait(timeout)
        if code is None:
            self.kill()
        return code

    def kill(self) -> None:
        """End the process and everything it started at once, as a crash of the machine would."""
        if not self.is_running():
            return
        family: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            # Stopped first, so that it starts nothing more while its children are counted.
            parent = psutil.Process(self.pid)
            parent.suspend()
            family = parent.children(recursive=True)
            parent.kill()
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        self.wait(10)
        psutil.wait_procs(family, timeout=10)

    def log_tail(self, lines: int = 40) -> str:
        """Return the end of the process's output."""
        try:
            text = self.log.read_text(errors="replace")
        except OSError as error:
            return f"(no log: {error})"
        return "\n".join(text.splitlines()[-lines:])
