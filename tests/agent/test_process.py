"""The agent as a process of its own: signals, the service manager, TLS."""

import datetime as dt
import ipaddress
import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.agent.command import main
from app.agent.state import Settings
from app.agent.store import FileStateStore

from .conftest import PortServer
from .fakes import registered_state

ACKNOWLEDGED = {"serverTime": "2026-11-24T12:00:00Z", "nextHeartbeatSeconds": 30, "generation": 0, "notices": []}


@pytest.fixture(autouse=True)
def _quiet_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MUSTER_URL", "MUSTER_AGENT_VERSION", "MUSTER_AGENT_STATE_DIR", "NOTIFY_SOCKET", "WATCHDOG_USEC"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def _registered(folder: Path, url: str, **changes: Any) -> FileStateStore:
    store = FileStateStore(folder)
    store.save(registered_state(settings=Settings(url=url), **changes))
    return store


class Running:
    """The real agent as a process of its own, with a service manager's socket."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.settimeout(60)
        address = str(folder / "notify")
        self.manager.bind(address)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.agent", "run", "--state-dir", str(folder), *more],
            env=os.environ | {"NOTIFY_SOCKET": address},
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, word: str) -> None:
        while word not in self.manager.recv(4096).decode():
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.manager.close()
        if self.process.stderr is not None:
            self.process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_a_sleep_ends_the_agent_cleanly(
    number: signal.Signals, folder: Path, port_server: PortServer
) -> None:
    store = _registered(folder, port_server.url)
    port_server.reply = lambda _: (200, ACKNOWLEDGED)
    with Running(folder) as agent:
        agent.wait_for("READY=1")
        agent.wait_for("heartbeat 1 acknowledged")
        assert main(["run", "--state-dir", str(folder)]) == 6
        agent.process.send_signal(number)
        agent.wait_for("STOPPING=1")
        _, error = agent.process.communicate(timeout=60)
        assert agent.process.returncode == 0
    assert "Traceback" not in error
    state = store.load()
    assert state is not None
    assert state.last_heartbeat is not None
    assert state.last_heartbeat.sequence == 1


def test_a_signal_in_a_request_ends_the_agent_cleanly(folder: Path, port_server: PortServer) -> None:
    _registered(folder, port_server.url)
    port_server.reply = lambda _: None
    with Running(folder) as agent:
        assert port_server.arrived.wait(60)
        agent.process.send_signal(signal.SIGTERM)
        _, error = agent.process.communicate(timeout=60)
        assert agent.process.returncode == 0
    assert "Traceback" not in error
    assert len(port_server.requests) == 1


def test_ready_does_not_wait_for_the_control_plane(folder: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        _registered(folder, f"http://127.0.0.1:{closed.getsockname()[1]}")
        with Running(folder) as agent:
            agent.wait_for("READY=1")
            agent.wait_for("ConnectError")
            agent.process.send_signal(signal.SIGTERM)
            agent.process.communicate(timeout=60)
            assert agent.process.returncode == 0


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a file with a key and a self-signed certificate for this machine."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "control plane of a test")])
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=3650))
        .not_valid_after(now + dt.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


def test_only_a_trusted_control_plane_gets_the_credential(
    folder: Path, port_server: PortServer, certificate: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    port_server.server.socket = context.wrap_socket(port_server.server.socket, server_side=True)
    port_server.scheme = "https"
    port_server.reply = lambda _: (200, ACKNOWLEDGED)
    _registered(folder, port_server.url)
    assert main(["once", "--state-dir", str(folder)]) == 1
    assert "CERTIFICATE_VERIFY_FAILED" in capsys.readouterr().err
    assert port_server.requests == []
    assert main(["once", "--state-dir", str(folder), "--ca-file", str(certificate)]) == 0
    assert len(port_server.requests) == 1
    assert main(["once", "--state-dir", str(folder), "--ca-file", __file__]) == 2
