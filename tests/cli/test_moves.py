"""`muster machine move`, `process-server switch`, `configuration-server refresh` and `renew-certificate`."""

import json
from typing import Any

import pytest

from app.cli import jobs
from tests.cli.fake_api import FakeApi, Muster, process_server

VAULT = "/api/v1/vaults/prod"
SERVER = f"{VAULT}/configuration-servers/cs-1"
JOB = f"{VAULT}/jobs/job-1"


def job(kind: str, state: str = "InProgress", **members: Any) -> dict[str, Any]:
    """A job as the API shows it."""
    return {
        "id": "job-1",
        "type": kind,
        "state": state,
        "progressPercentage": 100 if state == "Succeeded" else 50,
        "resource": {"kind": "process-server", "name": "ps-1", "id": "id-of-ps-1"},
        "target": "ps-2",
        "error": None,
        "details": {"machines": 2},
        **members,
    }


@pytest.fixture
def site(api: FakeApi) -> FakeApi:
    """Three machines, two of them with ps-1."""
    for name, carrier in (("web-1", "ps-1"), ("web-2", "ps-1"), ("web-3", "ps-3"), ("web-4", "ps-2")):
        api.answer("GET", f"{SERVER}/source-machines/{name}", {"name": name, "processServer": carrier})
    for carrier in ("ps-1", "ps-3"):
        api.answer("POST", f"{SERVER}/process-servers/{carrier}/load-balance", job("load-balance"), status=202)
    return api


def test_machines_of_several_process_servers_move_in_a_job_each(site: FakeApi, muster: Muster) -> None:
    result = muster("machine", "move", "web-1", "web-3", "web-2", "--to", "ps-2", "--vault", "prod", "--cs", "cs-1")
    assert result.exit_code == 0, result.output
    bodies = {request.url.path.split("/")[-2]: json.loads(request.content) for request in site.asked("POST")}
    assert bodies == {
        "ps-1": {"target": "ps-2", "machines": ["web-1", "web-2"]},
        "ps-3": {"target": "ps-2", "machines": ["web-3"]},
    }
    assert "load-balance of ps-1 to ps-2: InProgress. 2 machine(s) moved. Job job-1." in result.stdout


def test_a_machine_that_is_there_already_is_said_and_not_moved(site: FakeApi, muster: Muster) -> None:
    result = muster("machine", "move", "web-4", "--to", "ps-2", "--vault", "prod", "--cs", "cs-1")
    assert result.exit_code == 0
    assert "web-4: with process server ps-2 already." in result.stderr
    assert site.asked("POST") == []


def test_waiting_shows_how_far_it_is_and_the_end(
    site: FakeApi, muster: Muster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0.0)
    site.answer("GET", JOB, job("load-balance", "Succeeded"))
    result = muster("machine", "move", "web-1", "--to", "ps-2", "--vault", "prod", "--cs", "cs-1", "--wait")
    assert result.exit_code == 0
    assert "InProgress" in result.stderr
    assert "load-balance of ps-1 to ps-2: Succeeded." in result.stdout


def test_a_job_that_fails_is_a_failure(site: FakeApi, muster: Muster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0.0)
    error = {"code": "server-removed", "detail": "ps-2 was removed"}
    site.answer("GET", JOB, job("load-balance", "Failed", error=error))
    result = muster("machine", "move", "web-1", "--to", "ps-2", "--vault", "prod", "--cs", "cs-1", "--wait")
    assert result.exit_code != 0
    assert "ps-2 was removed" in result.stderr


def test_what_moved_is_told_when_a_later_process_server_is_refused(site: FakeApi, muster: Muster) -> None:
    site.refuse("POST", f"{SERVER}/process-servers/ps-3/load-balance", 409, "target-not-fit")
    result = muster("machine", "move", "web-1", "web-3", "--to", "ps-2", "--vault", "prod", "--cs", "cs-1")
    assert result.exit_code != 0
    assert "load-balance of ps-1 to ps-2: InProgress. 2 machine(s) moved. Job job-1." in result.stdout
    assert "Not moved: web-3." in result.stderr
    assert "detail of target-not-fit" in result.stderr


def test_all_are_asked_for_before_the_first_is_waited_for(
    site: FakeApi, muster: Muster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0.0)
    site.answer("GET", JOB, job("load-balance", "Succeeded"))
    muster("machine", "move", "web-1", "web-3", "--to", "ps-2", "--vault", "prod", "--cs", "cs-1", "--wait")
    order = [request.method for request in site.requests if request.method == "POST" or request.url.path == JOB]
    assert order == ["POST", "POST", "GET", "GET"]


def test_a_switch_asks_first_and_sends_what_is_allowed(api: FakeApi, muster: Muster) -> None:
    api.answer("GET", f"{VAULT}/process-servers/ps-1", process_server("ps-1"))
    api.answer("POST", f"{VAULT}/process-servers/ps-1/switch", job("switch"), status=202)
    refused = muster("ps", "switch", "ps-1", "--to", "ps-2", "--vault", "prod")
    assert refused.exit_code != 0
    assert api.asked("POST") == []
    result = muster(
        "ps", "switch", "ps-1", "--to", "ps-2", "--vault", "prod", "--yes", "--allow-over-capacity", "--reason", "dead"
    )
    assert result.exit_code == 0, result.output
    (request,) = api.asked("POST")
    assert json.loads(request.content) == {"target": "ps-2", "reason": "dead", "allowOverCapacity": True}


def test_a_refused_target_is_told_with_every_reason(api: FakeApi, muster: Muster) -> None:
    api.answer("GET", f"{VAULT}/process-servers/ps-1", process_server("ps-1"))
    blockers = [{"code": "disconnected", "detail": "ps-2 is disconnected"}, {"code": "over-capacity", "detail": "full"}]
    api.refuse("POST", f"{VAULT}/process-servers/ps-1/switch", 409, "target-not-fit", blockers=blockers)
    result = muster("ps", "switch", "ps-1", "--to", "ps-2", "--vault", "prod", "--yes")
    assert result.exit_code != 0
    assert "ps-2 is disconnected" in result.stderr
    assert "full" in result.stderr


@pytest.mark.parametrize(("command", "path"), [("refresh", "refresh"), ("renew-certificate", "certificates/renew")])
def test_requests_to_a_configuration_server(api: FakeApi, muster: Muster, command: str, path: str) -> None:
    resource = {"kind": "configuration-server", "name": "cs-1", "id": "id-of-cs-1"}
    asked = job(command, "Queued", resource=resource, target=None, details={})
    api.answer("POST", f"{SERVER}/{path}", asked, status=202)
    result = muster("cs", command, "cs-1", "--vault", "prod")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == f"{command} of cs-1: Queued. Job job-1."
    as_json = muster("cs", command, "cs-1", "--vault", "prod", "--json")
    assert json.loads(as_json.stdout) == asked
