"""Decommission and takeover on the command line."""

import json
from typing import Any

import httpx
import pytest

from tests.cli.fake_api import NOW, FakeApi, Muster

SERVER = "/api/v1/vaults/prod/process-servers/ps-1"
JOB = "/api/v1/vaults/prod/jobs/job-1"


def job(state: str, **members: Any) -> dict[str, Any]:
    """A job as the API shows it."""
    resource = {"kind": "process-server", "name": "ps-1", "id": "1"}
    return {"id": "job-1", "type": "decommission", "state": state, "resource": resource, "error": None, **members}


def ended(api: FakeApi, *jobs: dict[str, Any]) -> None:
    """Answer each look at the job with the next of `jobs`."""
    left = list(jobs)
    api.on("GET", JOB, lambda _: httpx.Response(200, json=left.pop(0), headers={"Date": NOW}))


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cli.departures.POLL_SECONDS", 0)


def test_a_decommission_is_asked_for(api: FakeApi, muster: Muster) -> None:
    api.answer("POST", f"{SERVER}/decommission", job("Queued"), status=202)
    done = muster("process-server", "decommission", "ps-1", "--switch-to", "ps-2", "--vault", "prod")
    assert done.exit_code == 0, done.output
    assert "asked to leave (Queued)" in done.stdout
    assert json.loads(api.asked("POST")[0].content) == {"switchTo": "ps-2"}


def test_waiting_ends_with_the_job(api: FakeApi, muster: Muster) -> None:
    api.answer("POST", f"{SERVER}/decommission", job("Queued"), status=202)
    ended(api, job("InProgress"), job("Succeeded"))
    done = muster("ps", "decommission", "ps-1", "--wait", "--vault", "prod")
    assert done.exit_code == 0, done.output
    assert "is gone" in done.stdout
    ended(api, job("Failed", error={"code": "step-failed", "detail": "exit code 1603"}))
    failed = muster("ps", "decommission", "ps-1", "--wait", "--vault", "prod")
    assert failed.exit_code == 1
    assert "exit code 1603" in failed.stderr


def test_a_refusal_is_told(api: FakeApi, muster: Muster) -> None:
    api.refuse("POST", f"{SERVER}/decommission", 409, "decommission-blocked")
    assert muster("ps", "decommission", "ps-1", "--vault", "prod").exit_code == 6


def test_a_takeover_is_approved(api: FakeApi, muster: Muster) -> None:
    approval = {"name": "ps-1", "hostId": "new", "until": "2026-11-25T12:00:00.000Z"}
    path = "/api/v1/vaults/prod/configuration-servers/cs-1/process-servers/ps-1/takeover"
    api.answer("POST", path, approval)
    done = muster(
        "ps", "approve-takeover", "ps-1", "--cs", "cs-1", "--host-id", "new", "--hours", "2", "--vault", "prod"
    )
    assert done.exit_code == 0, done.output
    assert "Host new may take the place of ps-1" in done.stdout
    assert json.loads(api.asked("POST")[0].content) == {"validHours": 2, "hostId": "new"}
