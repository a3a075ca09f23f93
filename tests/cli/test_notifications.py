"""`muster webhook` and `muster mail-subscription`."""

import json
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.cli import channels
from tests.cli.fake_api import NOW, FakeApi, Muster

WEBHOOKS = "/api/v1/vaults/prod/webhooks"
MAILS = "/api/v1/vaults/prod/mail-subscriptions"
SECRET = "whsec_c2VjcmV0"
WEBHOOK: dict[str, Any] = {
    "id": "id-1",
    "vault": "prod",
    "url": "https://hooks.example/x",
    "description": "on-call",
    "eventTypes": ["process-server."],
    "minimumSeverity": "Warning",
    "enabled": True,
    "disabledAt": None,
    "disabledReason": None,
    "failingSince": "2026-11-24T11:58:00.000Z",
    "previousSecretValidUntil": None,
    "lastSequence": 812,
    "createdAt": "2026-11-20T12:00:00.000Z",
    "createdBy": "token:alice",
    "updatedAt": "2026-11-20T12:00:00.000Z",
}
MAIL = {**WEBHOOK, "recipients": ["ops@x.example", "b@x.example"], "enabled": False, "disabledReason": "too long"}
DELIVERY: dict[str, Any] = {
    "id": "d-1",
    "messageId": "v/812",
    "kind": "event",
    "eventType": "process-server.disconnected",
    "severity": "Critical",
    "firstSequence": 812,
    "lastSequence": 820,
    "recipient": None,
    "state": "Failed",
    "attempts": 31,
    "createdAt": "2026-11-24T11:00:00.000Z",
    "nextAttemptAt": None,
    "lastAttemptAt": "2026-11-24T11:59:00.000Z",
    "lastStatus": 500,
    "lastError": "HTTP 500: no\x1b[31m",
    "endedAt": "2026-11-24T11:59:00.000Z",
}


def _body(request: httpx.Request) -> Any:
    return json.loads(request.content)


def test_a_new_webhooks_secret_is_shown_once(api: FakeApi, muster: Muster) -> None:
    api.answer("POST", WEBHOOKS, {**WEBHOOK, "secret": SECRET}, status=201)
    result = muster(
        "webhook", "create", "https://hooks.example/x", "--type", "process-server", "--type", "vault.created",
        "--minimum-severity", "warning", "--description", "on-call",
    )  # fmt: skip
    assert result.exit_code == 0
    assert result.stdout == f"{SECRET}\n"
    assert "id-1" in result.stderr
    (request,) = api.asked("POST")
    assert request.headers["Idempotency-Key"]
    assert _body(request) == {
        "url": "https://hooks.example/x",
        "eventTypes": ["process-server.", "vault.created"],
        "minimumSeverity": "Warning",
        "description": "on-call",
    }


@pytest.mark.parametrize(
    ("arguments", "path"),
    [(("create", "https://hooks.example/x"), WEBHOOKS), (("rotate-secret", "id-1"), f"{WEBHOOKS}/id-1/rotate-secret")],
)
def test_a_secret_can_go_to_a_file(
    api: FakeApi, muster: Muster, tmp_path: Path, arguments: tuple[str, ...], path: str
) -> None:
    api.answer("POST", path, {**WEBHOOK, "secret": SECRET})
    result = muster("webhook", *arguments, "--output", "secret")
    assert result.exit_code == 0
    assert SECRET not in result.output
    assert (tmp_path / "secret").read_text() == SECRET
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    again = muster("webhook", *arguments, "--output", "secret")
    assert again.exit_code == 2
    assert len(api.asked("POST")) == 1, "a secret that can't be written down is not asked for"


def test_rotation_takes_a_grace(api: FakeApi, muster: Muster) -> None:
    api.answer("POST", f"{WEBHOOKS}/id-1/rotate-secret", {**WEBHOOK, "secret": SECRET})
    assert muster("webhook", "rotate-secret", "id-1").stdout == f"{SECRET}\n"
    assert muster("webhook", "rotate-secret", "id-1", "--grace-seconds", "0").exit_code == 0
    assert [_body(request) for request in api.asked("POST")] == [{}, {"graceSeconds": 0}]


def test_lists_and_details(api: FakeApi, muster: Muster) -> None:
    api.pages(WEBHOOKS, [WEBHOOK])
    api.pages(MAILS, [MAIL])
    listed = muster("webhook", "list").stdout
    for told in ("https://hooks.example/x", "failing", "process-server.", "Warning", "2 min ago", "id-1"):
        assert told in listed
    mails = muster("mail-subscription", "list").stdout
    assert "ops@x.example, b@x.example" in mails
    assert "disabled" in mails
    assert json.loads(muster("webhook", "list", "--json").stdout) == [WEBHOOK]
    api.answer("GET", f"{WEBHOOKS}/id-1", WEBHOOK, headers={"ETag": '"7"'})
    shown = muster("webhook", "show", "id-1").stdout
    assert "Told up to event" in shown
    assert "812" in shown
    api.answer("GET", f"{MAILS}/id-1", MAIL)
    assert "too long" in muster("mail-subscription", "show", "id-1").stdout
    api.pages(WEBHOOKS, [])
    assert "muster webhook create" in muster("webhook", "list").stderr


def test_changes_go_to_what_was_read(api: FakeApi, muster: Muster) -> None:
    for path, document in ((WEBHOOKS, WEBHOOK), (MAILS, MAIL)):
        api.answer("GET", f"{path}/id-1", document, headers={"ETag": '"7"'})
        api.answer("PATCH", f"{path}/id-1", document)
        api.answer("DELETE", f"{path}/id-1", status=204)
    muster("webhook", "update", "id-1", "--to", "https://new.example/", "--disable", "--all-types")
    muster("mail-subscription", "update", "id-1", "--recipient", "c@x.example", "--enable", "--type", "job")
    first, second = api.asked("PATCH")
    assert _body(first) == {"url": "https://new.example/", "enabled": False, "eventTypes": []}
    assert _body(second) == {"recipients": ["c@x.example"], "enabled": True, "eventTypes": ["job."]}
    for group in ("webhook", "mail-subscription"):
        assert muster(group, "update", "id-1").exit_code == 2
        assert muster(group, "update", "id-1", "--type", "job", "--all-types").exit_code == 2
        assert muster(group, "delete", "id-1").exit_code == 2, "not without a word"
        assert muster(group, "delete", "id-1", "--yes").exit_code == 0
    assert {request.headers["If-Match"] for request in (*api.asked("PATCH"), *api.asked("DELETE"))} == {'"7"'}


def test_the_delivery_log(api: FakeApi, muster: Muster) -> None:
    api.pages(f"{WEBHOOKS}/id-1/deliveries", [DELIVERY])
    api.pages(f"{MAILS}/id-1/deliveries", [{**DELIVERY, "recipient": "ops@x.example"}])
    shown = muster("webhook", "deliveries", "id-1", "--state", "failed", "--limit", "5").stdout
    for told in ("Failed", "process-server.disconnected", "812 to 820", "31", "HTTP 500: no\\x1b[31m"):
        assert told in shown
    assert "\x1b" not in shown
    assert "ops@x.example" in muster("mail-subscription", "deliveries", "id-1").stdout
    asked = api.asked("GET", f"{WEBHOOKS}/id-1/deliveries")[0].url.params
    assert (asked["state"], asked["limit"]) == ("Failed", "5")


@pytest.mark.parametrize(("state", "code"), [("Delivered", 0), ("Failed", 1)])
@pytest.mark.parametrize(("group", "path"), [("webhook", WEBHOOKS), ("mail-subscription", MAILS)])
def test_a_test_waits_for_its_outcome(
    api: FakeApi, muster: Muster, monkeypatch: pytest.MonkeyPatch, group: str, path: str, state: str, code: int
) -> None:
    monkeypatch.setattr(channels, "POLL_SECONDS", 0)
    pending = {**DELIVERY, "kind": "test", "state": "Pending", "lastError": None}
    api.answer("POST", f"{path}/id-1/test", {"deliveries": [pending]}, status=202)
    answers = [[{**pending, "id": "other"}, pending], [{**pending, "state": state, "lastError": "why"}]]

    def next_page(_: httpx.Request) -> httpx.Response:
        items = answers.pop(0) if len(answers) > 1 else answers[0]
        return httpx.Response(200, json={"items": items, "nextCursor": None}, headers={"Date": NOW})

    api.on("GET", f"{path}/id-1/deliveries", next_page)
    result = muster(group, "test", "id-1")
    assert result.exit_code == code
    assert result.stdout.startswith(f"{state}: test to ")
    assert json.loads(muster(group, "test", "id-1", "--json").stdout)[0]["state"] == state


def test_a_mail_subscription_is_created(api: FakeApi, muster: Muster) -> None:
    api.answer("POST", MAILS, MAIL, status=201)
    result = muster("mail-subscription", "create", "ops@x.example", "b@x.example", "--minimum-severity", "Critical")
    assert result.exit_code == 0
    assert "ops@x.example, b@x.example" in result.stdout
    assert _body(api.asked("POST")[0]) == {
        "recipients": ["ops@x.example", "b@x.example"],
        "minimumSeverity": "Critical",
    }
