"""`muster serve` as a process of its own."""

import os
import ssl
import sys
from pathlib import Path

import httpx

from tests.support.processes import ChildProcess, accepts_connections, free_port

START_SECONDS = 60
ADMIN_TOKEN = "an-admin-token-for-tests-only"
MUSTER = Path(sys.executable).with_name("muster")


class MusterServer:
    """A control plane that can be stopped, killed and started again on the same data."""

    def __init__(self, folder: Path, **settings: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        own = {
            "data_dir": folder / "data",
            "port": self.port,
            "bootstrap_admin_token": ADMIN_TOKEN,
            **settings,
        }
        self.environment = environment(own)
        self.ca_file: Path | None = None
        self.process: ChildProcess | None = None

    @property
    def log(self) -> str:
        """All that the server has printed."""
        return (self.folder / "serve.log").read_text(errors="replace")

    def start(self) -> None:
        """Start and wait until it serves."""
        self.process = ChildProcess.start(
            [MUSTER, "serve"], log=self.folder / "serve.log", environment=self.environment, folder=self.folder
        )
        self.process.wait_until(self._is_ready, START_SECONDS, "muster serve")

    def _is_ready(self) -> bool:
        if not accepts_connections(self.port):
            return False
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2, verify=self._trust()).status_code == 200
        except httpx.HTTPError:
            return False

    def _trust(self) -> ssl.SSLContext | bool:
        # Without TLS nothing has to be trusted, and reading all that the system trusts takes longer than a request.
        return False if self.ca_file is None else ssl.create_default_context(cafile=str(self.ca_file))

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        assert self.process is not None
        self.process.kill()

    def stop(self) -> int | None:
        """SIGTERM; the exit code, None when it had to be killed after 15 seconds."""
        assert self.process is not None
        return self.process.stop(timeout=15)

    def client(self, token: str = ADMIN_TOKEN) -> httpx.AsyncClient:
        """An operator's client."""
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=30, verify=self._trust())


def environment(settings: dict[str, object]) -> dict[str, str]:
    """This process's environment without its own settings, with these.

    What Python has compiled is kept beside the sources for the next server: half a second of each start.
    """
    left_out = "PYTHONDONTWRITEBYTECODE"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MUSTER_") and name != left_out}
    return kept | {f"MUSTER_{name.upper()}": str(value) for name, value in settings.items()}
