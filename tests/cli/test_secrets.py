"""Secrets: where tokens come from, and where new ones go and don't go."""

import json
import stat
from pathlib import Path

import httpx
import pytest

from tests.cli.fake_api import NOW, TOKEN, FakeApi, Muster

KEYS = "/api/v1/vaults/prod/registration-keys"
PASSPHRASE = "/api/v1/vaults/prod/configuration-servers/cs-1/passphrase"
SECRET = "abcd-efgh-secret"


def _bearer(api: FakeApi) -> str:
    return api.requests[-1].headers["Authorization"].removeprefix("Bearer ")


def test_the_token_file_outranks_the_variable(api: FakeApi, muster: Muster, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-the-file\n")
    muster("vault", "list", "--token-file", "token")
    assert _bearer(api) == "from-the-file"
    muster("--token-file", "token", "vault", "list")
    assert _bearer(api) == "from-the-file"
    muster("vault", "list", env={"MUSTER_TOKEN_FILE": "token"})
    assert _bearer(api) == TOKEN
    muster("vault", "list", env={"MUSTER_TOKEN_FILE": "token", "MUSTER_TOKEN": None})
    assert _bearer(api) == "from-the-file"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000", "http://localhost:9", "http://[::1]:8000", "http://127.8.8.8"]
)
def test_this_machines_first_admin_token_is_found(api: FakeApi, muster: Muster, tmp_path: Path, url: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "admin-token").write_text("first-admin\n")
    assert muster("vault", "list", "--url", url, env={"MUSTER_TOKEN": None}).exit_code == 0
    assert _bearer(api) == "first-admin"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "admin-token").write_text("other-admin")
    muster("vault", "list", "--url", url, env={"MUSTER_TOKEN": None, "MUSTER_DATA_DIR": "elsewhere"})
    assert _bearer(api) == "other-admin"


@pytest.mark.parametrize("url", ["https://muster.example", "http://127.0.0.1.example.org", "http://10.0.0.1:8000"])
def test_it_is_never_sent_to_another_machine(api: FakeApi, muster: Muster, tmp_path: Path, url: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "admin-token").write_text("first-admin")
    result = muster("vault", "list", "--url", url, env={"MUSTER_TOKEN": None})
    assert result.exit_code == 4
    assert "MUSTER_TOKEN" in result.stderr
    assert api.requests == []


def test_without_any_token_the_places_are_named(api: FakeApi, muster: Muster) -> None:
    result = muster("vault", "list", env={"MUSTER_TOKEN": None})
    assert result.exit_code == 4
    for place in ("MUSTER_TOKEN", "--token-file", "admin-token", "MUSTER_DATA_DIR"):
        assert place in result.stderr
    assert api.requests == []


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "schlüssel-geheim", "tab\there"])
def test_what_is_no_token_is_refused_without_being_shown(api: FakeApi, muster: Muster, token: str) -> None:
    result = muster("vault", "list", env={"MUSTER_TOKEN": token})
    assert result.exit_code == 2
    assert token.split(maxsplit=1)[0] not in result.output.replace("MUSTER_TOKEN", "")
    assert api.requests == []


def test_an_absent_or_empty_token_file_is_a_usage_error(api: FakeApi, muster: Muster, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    for name in ("absent", "empty"):
        result = muster("vault", "list", "--token-file", name)
        assert result.exit_code == 2
        assert name in result.stderr
    assert api.requests == []


def test_a_registration_key_is_the_only_standard_output(api: FakeApi, muster: Muster) -> None:
    body = {"id": "key-1", "expiresAt": "2026-11-29T12:00:00Z", "registrationKey": SECRET}
    api.answer("POST", KEYS, body, status=201)
    result = muster("registration-key", "create")
    assert result.stdout == f"{SECRET}\n"
    assert "in 5 days" in result.stderr
    assert SECRET not in result.stderr
    assert json.loads(muster("registration-key", "create", "--json").stdout) == body


def test_a_registration_key_file_is_the_apis_and_for_its_owner(api: FakeApi, muster: Muster, tmp_path: Path) -> None:
    content = f'{{"registrationKey":  "{SECRET}", "expiresAt": "2026-11-29T12:00:00.000Z"}}'
    headers = {"Content-Type": "application/json", "Date": NOW}
    api.on("POST", KEYS, lambda _: httpx.Response(201, text=content, headers=headers))
    result = muster("registration-key", "create", "--output", "prod.vaultcredentials")
    file = tmp_path / "prod.vaultcredentials"
    assert result.exit_code == 0
    assert file.read_bytes() == content.encode()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert SECRET not in result.output
    assert "expires in 5 days" in result.stderr
    assert api.requests[-1].url.params["format"] == "file"


def test_a_passphrase_file_holds_the_passphrase_alone(api: FakeApi, muster: Muster, tmp_path: Path) -> None:
    api.answer("POST", PASSPHRASE, {"passphrase": SECRET})
    result = muster("cs", "new-passphrase", "cs-1", "--yes", "--output", "phrase", "--json")
    assert (tmp_path / "phrase").read_text() == SECRET
    assert stat.S_IMODE((tmp_path / "phrase").stat().st_mode) == 0o600
    assert SECRET not in result.output
    assert json.loads(result.stdout) == {"output": "phrase"}


def test_a_token_goes_to_its_file(api: FakeApi, muster: Muster, tmp_path: Path) -> None:
    api.answer("POST", "/api/v1/tokens", {"id": "t", "name": "ci", "role": "reader", "token": SECRET}, status=201)
    result = muster(
        *(
            "token",
            "create",
            "ci",
            "--role",
            "reader",
            "--vault",
            "prod",
            "--expires-in-days",
            "30",
            "-o",
            "ci.token",
        )
    )
    assert (tmp_path / "ci.token").read_text() == SECRET
    assert stat.S_IMODE((tmp_path / "ci.token").stat().st_mode) == 0o600
    assert SECRET not in result.output
    sent = json.loads(api.requests[-1].content)
    assert sent == {"name": "ci", "role": "reader", "vault": "prod", "expiresInDays": 30}


def test_a_file_that_exists_is_kept_and_nothing_is_asked_for(api: FakeApi, muster: Muster, tmp_path: Path) -> None:
    (tmp_path / "phrase").write_text("still needed")
    result = muster("cs", "new-passphrase", "cs-1", "--yes", "--output", "phrase")
    assert result.exit_code == 2
    assert (tmp_path / "phrase").read_text() == "still needed"
    assert api.asked("POST") == []


def test_a_file_that_can_not_be_written_costs_no_secret(api: FakeApi, muster: Muster) -> None:
    result = muster("cs", "new-passphrase", "cs-1", "--yes", "--output", "absent-folder/phrase")
    assert result.exit_code == 2
    assert api.asked("POST") == []


def test_a_refused_request_leaves_no_file(api: FakeApi, muster: Muster, tmp_path: Path) -> None:
    api.refuse("POST", KEYS, 403, "forbidden")
    assert muster("registration-key", "create", "-o", "key").exit_code == 4
    api.answer("POST", PASSPHRASE, {"unexpected": True})
    assert muster("cs", "new-passphrase", "cs-1", "--yes", "-o", "key").exit_code == 1
    assert not (tmp_path / "key").exists()


def test_lists_of_keys_and_tokens_tell_their_state(api: FakeApi, muster: Muster) -> None:
    api.pages(
        KEYS,
        [
            {"id": "key-a", "expiresAt": "2026-11-25T12:00:00Z", "revokedAt": None, "useCount": 2},
            {"id": "key-b", "expiresAt": "2026-11-24T11:00:00Z", "revokedAt": None},
            {"id": "key-c", "expiresAt": "2026-11-25T12:00:00Z", "revokedAt": "2026-11-24T11:00:00Z"},
        ],
    )
    rows = [line.split()[:2] for line in muster("registration-key", "list").stdout.splitlines()[1:]]
    assert rows == [["key-a", "active"], ["key-b", "expired"], ["key-c", "revoked"]]
    api.pages("/api/v1/tokens", [{"id": "t-1", "name": "ci", "role": "reader", "vault": None, "lastUsedAt": None}])
    line = muster("token", "list").stdout.splitlines()[1]
    assert line.split()[:5] == ["ci", "reader", "all", "never", "never"]
