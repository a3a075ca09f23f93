"""`muster serve` as operators meet it: first start, restart, stop, refusal, replicas, TLS."""

import asyncio
import signal
import ssl
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.certificates import certificate
from tests.support.muster import VERSION, machine
from tests.support.postgres import PostgresServer
from tests.support.server import ADMIN_TOKEN, MUSTER, MusterServer, environment


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MusterServer]:
    """A control plane on SQLite, started; whoever stops it starts it again."""
    started = MusterServer(tmp_path_factory.mktemp("serve"))
    started.start()
    yield started
    started.stop()


def muster(*arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run `muster` to its end."""
    return subprocess.run(
        [MUSTER, *map(str, arguments)],
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_first_start_prints_the_admin_token_once_and_keeps_it_private(tmp_path: Path) -> None:
    server = MusterServer(tmp_path, bootstrap_admin_token="")
    server.start()
    kept = tmp_path / "data" / "admin-token"
    token = kept.read_text().strip()
    try:
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert server.log.count(token) == 1
        assert server.url in server.log
        answer = httpx.get(f"{server.url}/api/v1/tokens", headers={"Authorization": f"Bearer {token}"})
        assert [item["name"] for item in answer.json()["items"]] == ["admin"]
    finally:
        server.stop()
    server.start()
    server.stop()
    assert server.log.count(token) == 1


def test_a_preset_admin_token_is_neither_printed_nor_written(server: MusterServer) -> None:
    answer = httpx.get(f"{server.url}/api/v1/vaults", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
    assert answer.status_code == 200
    assert ADMIN_TOKEN not in server.log
    assert not (server.folder / "data" / "admin-token").exists()


def test_a_lost_admin_token_is_replaced_on_the_machine(server: MusterServer) -> None:
    made = muster("admin-token", "--name", "spare", data_dir=server.folder / "data")
    token = made.stdout.strip()
    answer = httpx.get(f"{server.url}/api/v1/tokens", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200, made.stderr


def test_a_bad_setting_stops_the_start_and_is_named(tmp_path: Path) -> None:
    refused = muster("serve", data_dir=tmp_path, heartbeat_timeout_seconds="soon", log_format="xml")
    assert refused.returncode == 2
    assert "MUSTER_HEARTBEAT_TIMEOUT_SECONDS" in refused.stderr
    assert "soon" in refused.stderr
    assert "MUSTER_LOG_FORMAT" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_unreachable_database_stops_the_start_with_its_name_and_without_its_password(tmp_path: Path) -> None:
    url = "postgresql+asyncpg://muster:hidden-word@127.0.0.1:1/muster"
    refused = muster("serve", data_dir=tmp_path, database_url=url)
    assert refused.returncode == 1
    assert "127.0.0.1:1" in refused.stderr
    assert "hidden-word" not in refused.stderr
    assert "Traceback" not in refused.stderr


def test_settings_are_listed_with_source_and_without_secrets(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text("MUSTER_PORT=8123\n")
    listed = muster("settings", settings_file=file, bootstrap_admin_token="a-very-secret-word", log_format="json")
    assert "MUSTER_PORT=8123  (file)" in listed.stdout
    assert "MUSTER_LOG_FORMAT=json  (environment)" in listed.stdout
    assert "MUSTER_WORKERS=1  (default)" in listed.stdout
    assert "a-very-secret-word" not in listed.stdout


async def register(server: MusterServer) -> str:
    """A configuration server's credential."""
    async with server.client() as client:
        (await client.post("/api/v1/vaults", json={"name": "contoso", "location": "weu"})).raise_for_status()
        key = (await client.post("/api/v1/vaults/contoso/registration-keys")).json()["registrationKey"]
        body = {"registrationKey": key, **machine("cs-1")}
        answer = await client.post("/agent/v1/configuration-servers/register", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["credential"])


async def test_sigterm_answers_every_heartbeat_that_was_taken_and_ends_in_time(server: MusterServer) -> None:
    credential = await register(server)
    answered: list[int] = []
    statuses: set[int] = set()
    async with server.client(credential) as client:

        async def beat(sequence: int) -> None:
            body = {"bootId": "boot", "sequence": sequence, "agentVersion": VERSION}
            answer = await client.post("/agent/v1/heartbeat", json=body)
            statuses.add(answer.status_code)
            if answer.status_code == 200:
                answered.append(sequence)

        await beat(1)
        running = [asyncio.create_task(beat(sequence)) for sequence in range(2, 80)]
        while len(answered) < 5:
            await asyncio.sleep(0)
        assert server.process is not None
        server.process.send(signal.SIGTERM)
        outcomes = await asyncio.gather(*running, return_exceptions=True)
        code = await asyncio.to_thread(server.process.wait, 10)
    # Whoever was not answered was never taken: the connection was refused or closed unused.
    assert all(outcome is None or isinstance(outcome, httpx.TransportError) for outcome in outcomes)
    assert statuses <= {200, 503}
    assert code in {0, -signal.SIGTERM}
    server.start()
    async with server.client() as client:
        seen = (await client.get("/api/v1/vaults/contoso/configuration-servers/cs-1")).json()
    assert seen["sequence"] >= max(answered)


def test_postgresql_is_migrated_by_command_and_serves_with_two_workers(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    url = postgres.create_database("workers")
    refused = muster("serve", data_dir=tmp_path, database_url=url)
    assert refused.returncode == 1
    assert "muster migrate" in refused.stderr
    assert muster("migrate", "--check", database_url=url).returncode == 1
    assert muster("migrate", database_url=url).returncode == 0
    assert muster("migrate", "--check", database_url=url).returncode == 0
    server = MusterServer(tmp_path, database_url=url, workers=2)
    server.start()
    try:
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        body = {"name": "contoso", "location": "weu"}
        assert httpx.post(f"{server.url}/api/v1/vaults", json=body, headers=headers).status_code == 201
        for _ in range(8):
            assert len(httpx.get(f"{server.url}/api/v1/vaults", headers=headers).json()["items"]) == 1
        assert "muster_http_requests_total" in httpx.get(f"{server.url}/metrics").text
    finally:
        server.stop()


def test_tls_with_an_own_certificate_and_an_agent_that_trusts_it(tmp_path: Path) -> None:
    chain, secret = certificate(tmp_path)
    server = MusterServer(tmp_path, tls_certificate_file=chain, tls_key_file=secret)
    server.url = server.url.replace("http:", "https:")
    server.ca_file = chain
    server.start()
    try:
        trust = ssl.create_default_context(cafile=str(chain))
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        with httpx.Client(base_url=server.url, verify=trust, headers=headers) as client:
            client.post("/api/v1/vaults", json={"name": "contoso", "location": "weu"})
            key_file = tmp_path / "contoso.vaultcredentials"
            answer = client.post("/api/v1/vaults/contoso/registration-keys", params={"format": "file"})
            key_file.write_bytes(answer.content)
        arguments = ["--server-mode", "CS", "--registration-key-file", key_file, "--url", server.url, "--name", "cs-1"]
        state = ["--state-dir", tmp_path / "state"]
        distrusted = muster("agent", "register", *arguments, *state, "--attempts", "1")
        assert distrusted.returncode == 1
        assert "certificate" in distrusted.stderr.lower()
        done = muster("agent", "register", *arguments, *state, "--ca-file", chain)
        assert done.returncode == 0, done.stderr
        beat = muster("agent", "once", *state)
        assert beat.returncode == 0, beat.stderr
    finally:
        server.stop()
