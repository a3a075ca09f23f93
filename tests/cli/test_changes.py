"""Changes: entity tags, confirmations, retries, the default vault."""

import json
from collections.abc import Callable

import httpx
import pytest

from app.cli import invocation
from tests.cli.fake_api import NOW, FakeApi, Muster, process_server

VAULT = "/api/v1/vaults/prod"
SERVER = f"{VAULT}/process-servers/ps-1"


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cli.client.RETRY_PAUSE_SECONDS", 0)


def _failing_first(error: Exception, then: httpx.Response) -> Callable[[httpx.Request], httpx.Response]:
    answers = iter((error, then))

    def handler(_: httpx.Request) -> httpx.Response:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handler


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize("error", [httpx.ReadError("reset"), httpx.ConnectError("refused"), httpx.ReadTimeout("slow")])
def test_a_lost_answer_is_asked_for_once_more_with_the_same_key(api: FakeApi, muster: Muster, error: Exception) -> None:
    made = httpx.Response(201, json={"name": "new", "id": "1"})
    api.on("POST", "/api/v1/vaults", _failing_first(error, made))
    assert muster("vault", "create", "new", "--location", "westeurope").exit_code == 0
    first, second = api.asked("POST")
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert first.content == second.content
    assert json.loads(first.content) == {"name": "new", "location": "westeurope"}


@pytest.mark.usefixtures("no_pause")
def test_it_is_asked_for_only_once_more(api: FakeApi, muster: Muster) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset")

    api.on("POST", "/api/v1/vaults", fail)
    assert muster("vault", "create", "new", "--location", "x").exit_code == 7
    assert len(api.asked("POST")) == 2


def test_a_refusal_is_final_and_each_command_has_its_own_key(api: FakeApi, muster: Muster) -> None:
    api.refuse("POST", "/api/v1/vaults", 503, "overloaded")
    for _ in range(2):
        assert muster("vault", "create", "new", "--location", "x").exit_code == 7
    first, second = api.asked("POST")
    assert first.headers["Idempotency-Key"] != second.headers["Idempotency-Key"]


def test_an_update_writes_with_the_tag_it_read(api: FakeApi, muster: Muster) -> None:
    api.answer("GET", SERVER, process_server("ps-1"), headers={"ETag": '"7"'})
    api.answer("PATCH", SERVER, process_server("ps-1"))
    assert muster("ps", "update", "ps-1", "--friendly-name", "Amsterdam").exit_code == 0
    [patch] = api.asked("PATCH")
    assert patch.headers["If-Match"] == '"7"'
    assert json.loads(patch.content) == {"friendlyName": "Amsterdam"}


def test_a_stale_tag_ends_with_six_and_says_what_to_do(api: FakeApi, muster: Muster) -> None:
    api.answer("GET", SERVER, process_server("ps-1"), headers={"ETag": '"7"'})
    api.refuse("PATCH", SERVER, 412, "precondition-failed")
    result = muster("ps", "update", "ps-1", "--friendly-name", "")
    assert result.exit_code == 6
    assert "changed it meanwhile" in result.stderr
    assert json.loads(api.asked("PATCH")[0].content) == {"friendlyName": ""}


@pytest.mark.parametrize(
    ("given", "until"),
    [
        ("2h", "2026-11-24T14:00:00Z"),
        ("90 min", "2026-11-24T13:30:00Z"),
        ("1d", "2026-11-25T12:00:00Z"),
        ("2026-12-01T10:00:00+02:00", "2026-12-01T08:00:00Z"),
        ("2026-12-01T10:00Z", "2026-12-01T10:00:00Z"),
    ],
)
def test_maintenance_begins(api: FakeApi, muster: Muster, given: str, until: str) -> None:
    api.answer("GET", "/healthz", {"status": "ok"})
    api.answer("GET", SERVER, process_server("ps-1"))
    api.answer("PATCH", SERVER, process_server("ps-1"))
    result = muster("ps", "update", "ps-1", "--vault", "prod", "--maintenance-until", given, "--reason", "new disks")
    assert result.exit_code == 0
    assert json.loads(api.asked("PATCH")[0].content) == {
        "maintenance": {"isEnabled": True, "until": until, "reason": "new disks"}
    }
    assert until[:10] in result.stdout


def test_a_name_that_two_have_is_settled_by_its_configuration_server(api: FakeApi, muster: Muster) -> None:
    nested = f"{VAULT}/configuration-servers/cs-2/process-servers/ps-1"
    api.answer("GET", nested, process_server("ps-1"), headers={"ETag": '"2"'})
    api.answer("PATCH", nested, process_server("ps-1"))
    assert muster("ps", "show", "ps-1", "--cs", "cs-2").exit_code == 0
    assert muster("ps", "update", "ps-1", "--cs", "cs-2", "--no-maintenance").exit_code == 0
    assert api.asked("PATCH", nested)[0].headers["If-Match"] == '"2"'


def test_maintenance_ends(api: FakeApi, muster: Muster) -> None:
    api.answer("GET", SERVER, process_server("ps-1"))
    api.answer("PATCH", SERVER, process_server("ps-1"))
    assert muster("ps", "update", "ps-1", "--no-maintenance").exit_code == 0
    assert json.loads(api.asked("PATCH")[0].content) == {"maintenance": None}


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--maintenance-until", "1h", "--no-maintenance"),
        ("--reason", "why"),
        ("--maintenance-until", "soon"),
        ("--maintenance-until", "2026-13-01"),
        ("--maintenance-until", "999999w"),
    ],
)
def test_an_update_that_makes_no_sense_changes_nothing(api: FakeApi, muster: Muster, options: tuple[str, ...]) -> None:
    api.answer("GET", "/healthz", {"status": "ok"})
    api.answer("GET", SERVER, process_server("ps-1"))
    assert muster("ps", "update", "ps-1", *options).exit_code == 2
    assert api.asked("PATCH") == []


DELETIONS = [
    (("vault", "delete", "prod"), VAULT, "DELETE", VAULT),
    (("cs", "delete", "cs-1"), f"{VAULT}/configuration-servers/cs-1", "DELETE", None),
    (("registration-key", "revoke", "key-1"), None, "DELETE", f"{VAULT}/registration-keys/key-1"),
    (("token", "delete", "ci"), None, "DELETE", "/api/v1/tokens/0192f0c1-0000-7000-8000-000000000009"),
    (("cs", "new-passphrase", "cs-1"), None, "POST", f"{VAULT}/configuration-servers/cs-1/passphrase"),
]


def _prepare(api: FakeApi, read: str | None, method: str, path: str | None) -> str:
    target = path or read or ""
    if read is not None:
        api.answer("GET", read, {"name": "thing", "processServerCount": 2}, headers={"ETag": '"3"'})
    api.pages("/api/v1/tokens", [{"id": "0192f0c1-0000-7000-8000-000000000009", "name": "ci"}])
    if method == "DELETE":
        api.answer(method, target, status=204)
    else:
        api.answer(method, target, {"passphrase": "new"})
    return target


@pytest.mark.parametrize(("command", "read", "method", "path"), DELETIONS)
def test_nothing_is_removed_unasked(
    api: FakeApi, muster: Muster, command: tuple[str, ...], read: str | None, method: str, path: str | None
) -> None:
    _prepare(api, read, method, path)
    result = muster(*command)
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert api.asked(method) == []


@pytest.mark.parametrize(("command", "read", "method", "path"), DELETIONS)
def test_yes_does_it_with_the_tag_just_read(
    api: FakeApi, muster: Muster, command: tuple[str, ...], read: str | None, method: str, path: str | None
) -> None:
    target = _prepare(api, read, method, path)
    assert muster(*command, "--yes").exit_code == 0
    [request] = api.asked(method)
    assert request.url.path == target
    assert request.headers.get("If-Match") == ('"3"' if read is not None else None)


@pytest.mark.parametrize(("answer", "exit_code", "count"), [("y\n", 0, 1), ("n\n", 1, 0), ("\n", 1, 0), ("", 1, 0)])
def test_at_a_terminal_the_operator_is_asked(
    api: FakeApi, muster: Muster, monkeypatch: pytest.MonkeyPatch, answer: str, exit_code: int, count: int
) -> None:
    monkeypatch.setattr(invocation, "is_interactive", lambda: True)
    _prepare(api, VAULT, "DELETE", VAULT)
    result = muster("vault", "delete", "prod", input=answer)
    assert result.exit_code == exit_code
    assert "Delete vault thing?" in result.stderr
    assert len(api.asked("DELETE")) == count


def test_a_forced_deletion_says_so_to_the_api(api: FakeApi, muster: Muster) -> None:
    target = _prepare(api, f"{VAULT}/configuration-servers/cs-1", "DELETE", None)
    muster("cs", "delete", "cs-1", "--yes")
    muster("cs", "delete", "cs-1", "--yes", "--force")
    assert [request.url.params.get("force") for request in api.asked("DELETE", target)] == [None, "true"]


def test_an_unknown_token_name_deletes_nothing(api: FakeApi, muster: Muster) -> None:
    api.pages("/api/v1/tokens", [{"id": "0192f0c1-0000-7000-8000-000000000009", "name": "ci"}])
    assert muster("token", "delete", "c", "--yes").exit_code == 5
    assert api.asked("DELETE") == []


def test_the_only_vault_is_the_default(api: FakeApi, muster: Muster) -> None:
    api.pages(f"{VAULT}/process-servers", [])
    muster("ps", "list")
    assert api.requests[-1].url.path == f"{VAULT}/process-servers"


def test_several_vaults_are_a_choice(api: FakeApi, muster: Muster) -> None:
    api.pages("/api/v1/vaults", [{"name": "prod"}, {"name": "test"}])
    result = muster("ps", "list")
    assert result.exit_code == 2
    assert "prod, test" in result.stderr
    assert "--vault" in result.stderr
    api.pages("/api/v1/vaults/test/process-servers", [])
    assert muster("ps", "list", "--vault", "test").exit_code == 0
    assert muster("ps", "list", env={"MUSTER_VAULT": "test"}).exit_code == 0
    assert muster("ps", "list", "--vault", "test", env={"MUSTER_VAULT": "prod"}).exit_code == 0
    assert len(api.asked("GET", "/api/v1/vaults/test/process-servers")) == 3


def test_no_vault_at_all_says_how_to_make_one(api: FakeApi, muster: Muster) -> None:
    api.pages("/api/v1/vaults", [])
    result = muster("ps", "list")
    assert result.exit_code == 5
    assert "muster vault create" in result.stderr


def test_ages_are_told_by_the_servers_clock(api: FakeApi, muster: Muster) -> None:
    server = process_server("ps-1", lastHeartbeat="2031-01-01T00:00:00Z")
    page = {"items": [server], "nextCursor": None}
    api.answer("GET", f"{VAULT}/process-servers", page, headers={"Date": "Wed, 01 Jan 2031 00:05:00 GMT"})
    assert "5 min ago" in muster("ps", "list").stdout
    assert NOW not in muster("ps", "list").stdout
