"""`muster rebalance` and `muster machine place`."""

import json
from typing import Any

import httpx
import pytest

from app.cli import jobs, progress, screen
from tests.cli.fake_api import NOW, FakeApi, Muster

VAULT = "/api/v1/vaults/prod"
SERVER = f"{VAULT}/configuration-servers/cs-1"
PLAN = f"{SERVER}/rebalance-plan"
JOB_ID = "0192f0c1-0000-7000-8000-000000000011"
JOB = f"{VAULT}/jobs/{JOB_ID}"
GB = 2**30


def load(machines: int, churn: int) -> dict[str, int]:
    return {"sourceMachines": machines, "churnInBytesPerDay": churn}


def server(name: str, before: tuple[int, int], after: tuple[int, int], levels: tuple[float, float]) -> dict[str, Any]:
    return {
        "id": f"id-of-{name}",
        "name": name,
        "kind": "scaleOut",
        "takesMachines": True,
        "blockers": [],
        "limit": load(85, 250 * GB),
        "before": load(*before),
        "after": load(*after),
        "utilisationPercentageBefore": levels[0],
        "utilisationPercentageAfter": levels[1],
    }


def plan(**members: Any) -> dict[str, Any]:
    """A plan as the API shows it."""
    return {
        "vault": "prod",
        "configurationServer": "cs-1",
        "token": "token-of-the-plan",
        "goal": "balance",
        "processServer": None,
        "maxMoves": None,
        "moves": [
            {
                "id": "id-of-sql-1",
                "machine": "sql-1",
                "from": "ps-1",
                "to": "ps-2",
                "churnInBytesPerDay": 40 * GB,
                "reason": "ps-1 is beyond its limits",
            }
        ],
        "processServers": [
            server("ps-1", (2, 270 * GB), (1, 230 * GB), (108.0, 92.0)),
            server("ps-2", (0, 0), (1, 40 * GB), (0.0, 16.0)),
        ],
        "unplaced": [],
        "unplacedCount": 0,
        "processServersNeeded": [],
        "lowerBound": {"highestUtilisationPercentage": 92.0, "moves": 1},
        "reasons": ["the highest utilisation goes from 108.0 % to 92.0 %"],
        **members,
    }


def job(state: str, percent: int, **members: Any) -> dict[str, Any]:
    """A rebalance job."""
    return {
        "id": JOB_ID,
        "type": "rebalance",
        "state": state,
        "progressPercentage": percent,
        "resource": {"kind": "configuration-server", "name": "cs-1", "id": "id-of-cs-1"},
        "target": "ps-2",
        "error": None,
        "details": {"machines": 1},
        **members,
    }


@pytest.fixture
def site(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """A vault with the one configuration server `cs-1`, a plan for it, and a job that ends at the third look."""
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0)
    api.pages(f"{VAULT}/configuration-servers", [{"name": "cs-1"}])
    api.answer("GET", PLAN, plan())
    api.answer("POST", f"{PLAN}/apply", job("InProgress", 50), status=202)
    looks = iter([job("InProgress", 75), job("Succeeded", 100)])
    api.on("GET", JOB, lambda _: httpx.Response(200, json=next(looks), headers={"Date": NOW}))
    return api


def sent(api: FakeApi) -> dict[str, Any]:
    (request,) = api.asked("POST")
    return dict(json.loads(request.content))


def test_a_plan_is_shown_with_before_and_after(site: FakeApi, muster: Muster) -> None:
    result = muster("rebalance", "plan", "--goal", "empty", "--ps", "ps-1", "--max-moves", "3")
    params = site.asked("GET", PLAN)[0].url.params
    assert dict(params) == {"goal": "empty", "processServer": "ps-1", "maxMoves": "3"}
    assert result.exit_code == 0
    out = result.stdout
    assert "sql-1" in out
    assert "ps-1 is beyond its limits" in out
    assert "2 -> 1" in out
    assert "108.0 %" in out
    assert "92.0 %" in out
    assert "token-of-the-plan" in out


def test_what_fits_nowhere_and_what_is_needed_is_told(site: FakeApi, muster: Muster) -> None:
    entry = {
        "id": "id-of-big-1",
        "machine": "big-1",
        "processServer": "ps-1",
        "churnInBytesPerDay": 600 * GB,
        "reason": "it changes 600 GB a day",
    }
    needed = {"tier": "medium", "cpuCount": 8, "memoryInBytes": 1, "cacheDiskInBytes": 1, "count": 1}
    site.answer("GET", PLAN, plan(moves=[], unplaced=[entry], unplacedCount=3, processServersNeeded=[needed]))
    result = muster("rebalance", "plan")
    assert "Fits nowhere: big-1 stays on ps-1: it changes 600 GB a day" in result.stdout
    assert "Fits nowhere: 2 more" in result.stdout
    assert "1 medium (8 vCPUs)" in result.stdout
    assert "No machine needs to move." in result.stderr


def test_apply_shows_asks_applies_the_token_and_follows_the_job(site: FakeApi, muster: Muster) -> None:
    result = muster("rebalance", "apply", "--yes")
    assert result.exit_code == 0, result.output
    assert sent(site) == {"token": "token-of-the-plan", "goal": "balance"}
    assert result.stderr.splitlines() == [
        "Rebalance: InProgress 50 %", "Rebalance: InProgress 75 %", "Rebalance: Succeeded 100 %",
    ]  # fmt: skip
    assert f"Moved 1 machine(s), and the agents have observed it. Job {JOB_ID}." in result.stdout
    assert "token-of-the-plan" in result.stdout


def test_apply_asks_first(site: FakeApi, muster: Muster) -> None:
    result = muster("rebalance", "apply")
    assert result.exit_code == 2
    assert "Move 1 machine(s)?" in result.stderr
    assert site.asked("POST") == []


def test_apply_with_a_token_neither_plans_nor_asks(site: FakeApi, muster: Muster) -> None:
    result = muster("rebalance", "apply", "--token", "kept", "--goal", "useNew", "--ps", "ps-2", "--no-wait", "--json")
    assert json.loads(result.stdout)["state"] == "InProgress"
    assert sent(site) == {"token": "kept", "goal": "useNew", "processServer": "ps-2"}
    assert site.asked("GET", PLAN) == []


def test_nothing_to_apply_is_no_failure(site: FakeApi, muster: Muster) -> None:
    site.answer("GET", PLAN, plan(moves=[]))
    result = muster("rebalance", "apply", "--yes")
    assert (result.exit_code, site.asked("POST")) == (0, [])
    assert "There is nothing to apply." in result.stderr


def test_a_stale_plan_is_explained(site: FakeApi, muster: Muster) -> None:
    site.refuse("POST", f"{PLAN}/apply", 409, "stale-plan")
    result = muster("rebalance", "apply", "--yes")
    assert result.exit_code != 0
    assert "stale-plan" in result.stderr


def test_a_job_that_fails_is_a_failure(site: FakeApi, muster: Muster) -> None:
    error = {"code": "server-removed", "detail": "process server ps-2 was removed"}
    site.answer("GET", JOB, job("Failed", 50, error=error))
    result = muster("rebalance", "apply", "--yes")
    assert result.exit_code == 1
    assert "process server ps-2 was removed" in result.stderr


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    from io import StringIO

    from rich.console import Console

    stream = StringIO()
    monkeypatch.setattr(
        screen,
        "console",
        lambda *, stderr=False: Console(file=stream, force_terminal=True, width=80, legacy_windows=False),
    )
    with progress.bar("Rebalance") as show:
        show(50, "InProgress")
        show(100, "Succeeded")
    assert "Rebalance" in stream.getvalue()
    assert "100 %" in stream.getvalue()


def test_placement_is_shown_best_first(site: FakeApi, muster: Muster) -> None:
    entry = {
        "id": "id-of-ps-1",
        "name": "ps-1",
        "kind": "scaleOut",
        "health": "Healthy",
        "agentVersion": "9.62.7096.1",
        "tier": "small",
        "used": load(10, GB),
        "limit": load(85, 250 * GB),
        "spareAfter": load(74, 239 * GB),
        "sparePercentageAfter": 87.05,
        "reasons": [],
    }
    blocker = {"code": "disconnected", "detail": "process server ps-2 is disconnected"}
    unfit = {"id": "id-of-ps-2", "name": "ps-2", "kind": "scaleOut", "blockers": [blocker]}
    found = {"processServers": [entry], "unfitProcessServers": [unfit], "reasons": ["ps-1 is the best"]}
    site.answer("GET", f"{SERVER}/placement", found)
    result = muster("machine", "place", "--churn", "10GB")
    assert site.asked("GET", f"{SERVER}/placement")[0].url.params["churnInBytesPerDay"] == str(10 * GB)
    assert "74 of 85" in result.stdout
    assert "Does not fit: ps-2: process server ps-2 is disconnected" in result.stdout
    assert json.loads(muster("machine", "place", "--json").stdout) == found
    assert muster("machine", "place", "--churn", "much").exit_code == 2
