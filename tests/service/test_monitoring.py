"""contrib/: the Prometheus alerts and the Grafana dashboard ask for what a scrape of the application has."""

import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from app.core import errors, metrics
from app.core.background import BackgroundTask
from app.core.clock import ManualClock
from app.main import ROUTERS, _tasks
from app.operations.census import KEPT_SECONDS
from app.vocabulary import AlertCode, ChannelKind, ConnectionState, DeliveryState, Health, ServerKind, Severity
from tests.support import promql
from tests.support.certificates import certificate
from tests.support.muster import Site, new_site
from tests.support.notifications import HERE, happen, notify, webhook
from tests.support.scrape import Scrape
from tests.support.streams import Follower

CONTRIB = Path(__file__).resolve().parent.parent.parent / "contrib"
README = CONTRIB.parent / "README.md"
ALERTS = CONTRIB / "prometheus" / "muster-alerts.yml"
ALERT_TESTS = CONTRIB / "prometheus" / "muster-alerts.test.yml"
DASHBOARD = CONTRIB / "grafana" / "muster.json"
RUNBOOK = "When an alert fires"
GRID_WIDTH = 24
NOT_OURS = {"up": promql.TARGET_LABELS}
# What Grafana puts in for its variables before it asks Prometheus.
VARIABLES = {
    "$__rate_interval": "1m",
    "$job": "muster",
    "$vault": ".*",
    "${datasource}": "prometheus",
}


def rules() -> list[dict[str, Any]]:
    """Every alert of the file."""
    document = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return loaded


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels that show something."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def filled_in(text: str) -> str:
    """A query as Grafana sends it."""
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    assert "$" not in text, f"a variable of {text} is not declared"
    return text


def queries() -> list[tuple[str, str]]:
    """Every query of both files, with where it stands."""
    of_alerts = [(f"alert {rule['alert']}", rule["expr"]) for rule in rules()]
    of_panels = [
        (f"panel {panel['title']}, {target['refId']}", filled_in(target["expr"]))
        for panel in panels()
        for target in panel["targets"]
    ]
    of_variables = [
        (f"variable {variable['name']}", filled_in(found[1]))
        for variable in dashboard()["templating"]["list"]
        if (found := re.fullmatch(r"label_values\((.+), \w+\)", str(variable.get("definition"))))
    ]
    return of_alerts + of_panels + of_variables


# --- what the application exposes ----------------------------------------------------------------------------


@pytest.fixture
def database_kind() -> str:
    """One database is enough: the families are the same (tests/service/test_metrics.py has both)."""
    return "sqlite"


@pytest.fixture
async def exposed(database_url: str, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Scrape]:
    """A scrape of the application after everything that is counted has happened."""
    chain, key = certificate(tmp_path)
    settings = {**HERE, "tls_certificate_file": chain, "tls_key_file": key}
    async with new_site(database_url, clock, tmp_path, **settings) as site:
        await _happen(site)
        clock.advance(KEPT_SECONDS)
        yield Scrape((await site.client.get("/metrics")).text)


async def _happen(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    for sequence in (1, 2):
        await site.beat(server, sequence)
    await site.beat("nonsense")
    first = await site.process_server(server)
    await site.source_machine(first["id"], "web-01", 1)
    async with Follower(site.app, 0) as stream:
        await stream.events(1)
    # Nobody listens there: the attempt fails and is tried again.
    await webhook(site, "http://127.0.0.1:1/hook")
    await happen(site)
    assert await notify(site) > 0
    await site.pass_time(960)
    for task in (*_tasks(site.app.state), BackgroundTask("broken", 60, _fail, site.clock)):
        await task.run_once()


async def _fail() -> None:
    raise RuntimeError("as a task that fails")


def labels_of(exposed: Scrape) -> dict[str, set[str]]:
    """The labels of each series that was scraped, by its name."""
    found: dict[str, set[str]] = {name: set(labels) for name, labels in NOT_OURS.items()}
    for family in exposed.families.values():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def known_values(exposed: Scrape, label: str) -> set[str]:
    """The values that a label may have."""
    declared: dict[str, set[str]] = {
        "connection_state": set(ConnectionState),
        "health": set(Health),
        "code": set(AlertCode),
        "severity": set(Severity),
        "kind": set(ServerKind),
        "reason": set(errors.catalogue()) | {"invalid"},
        "channel": set(ChannelKind),
        "outcome": {state.value.lower() for state in DeliveryState} | {"retried"},
        "route": {route.path for router in ROUTERS for route in router.routes if hasattr(route, "path")},
        "job": {"muster"},
    }
    seen = {
        sample.labels[label]
        for family in exposed.families.values()
        for sample in family.samples
        if label in sample.labels
    }
    return declared.get(label, set()) | seen


async def test_a_scrape_has_every_metric_that_is_declared(exposed: Scrape) -> None:
    for value in vars(metrics).values():
        if isinstance(value, MetricWrapperBase):
            (described,) = value.describe()
            assert described.name in exposed.families, f"nothing that the test does makes {described.name}"
        elif isinstance(value, metrics.Reading):
            assert value.name in exposed.families, f"nothing that the test does makes {value.name}"


async def test_every_query_names_series_labels_and_values_that_there_are(exposed: Scrape) -> None:
    known = labels_of(exposed)
    assert len(queries()) > 50
    for where, query in queries():
        question = promql.read(query)
        assert question.selected, f"{where} asks for nothing"
        there: set[str] = set(promql.TARGET_LABELS)
        for name, matched in question.selected:
            assert name in known, f"{where}: nothing exposes {name}"
            there |= known[name]
            for label, values in matched.items():
                assert label in known[name] | promql.TARGET_LABELS, f"{where}: {name} has no label {label}"
                unknown = values - known_values(exposed, label) if label != "status" else set()
                assert not unknown, f"{where}: the label {label} is never {unknown}"
        assert question.grouping <= there, f"{where}: no series has {question.grouping - there}"


async def test_texts_of_alerts_name_labels_that_the_alert_has(exposed: Scrape) -> None:
    for rule in rules():
        named = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        assert named <= promql.answer_labels(rule["expr"], labels_of(exposed)), rule["alert"]


async def test_legends_name_labels_that_the_answer_has(exposed: Scrape) -> None:
    for panel in panels():
        for target in panel["targets"]:
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            answer = promql.answer_labels(filled_in(target["expr"]), labels_of(exposed))
            assert named <= answer, f"{panel['title']}: the answer has {answer}"


# --- the alerts ----------------------------------------------------------------------------------------------


def test_every_alert_says_what_is_wrong_and_where_to_read_on() -> None:
    text = README.read_text(encoding="utf-8")
    section = text.partition(f"### {RUNBOOK}\n")[2].partition("\n### ")[0]
    assert section, f"the README has no section '{RUNBOOK}'"
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) > 15
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}, rule["alert"]
        assert rule["annotations"]["runbook"] == f"README, {RUNBOOK}, {rule['alert']}"
        assert f"`{rule['alert']}`" in section, f"the README does not tell what to do about {rule['alert']}"
    assert set(re.findall(r"`(Muster[A-Z]\w+)`", section)) == set(names)


def test_every_alert_is_tried_by_promtools_tests() -> None:
    text = ALERT_TESTS.read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    assert document["rule_files"] == [ALERTS.name]
    for rule in rules():
        assert re.search(rf'alertname(="|: ){rule["alert"]}\b', text), f"no test lets {rule['alert']} fire"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "rules", "--lint=all", "--lint-fatal", "muster-alerts.yml"],
        ["test", "rules", "muster-alerts.test.yml"],
        ["check", "config", "prometheus.yml"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_promtool_accepts_the_files(arguments: list[str]) -> None:
    done = subprocess.run(
        ["promtool", *arguments], cwd=ALERTS.parent, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_loads_the_alerts_and_names_the_job_that_they_ask_for() -> None:
    configuration = yaml.safe_load((ALERTS.parent / "prometheus.yml").read_text(encoding="utf-8"))
    assert configuration["rule_files"] == [ALERTS.name]
    assert [job["job_name"] for job in configuration["scrape_configs"]] == ["muster"]


# --- the dashboard -------------------------------------------------------------------------------------------


def test_the_dashboard_is_for_any_data_source_and_vault() -> None:
    board = dashboard()
    assert board["schemaVersion"] >= 42
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["vault"]["multi"]
    assert variables["vault"]["includeAll"]
    assert variables["vault"]["allValue"] == ".*"
    assert {variable.get("datasource", {}).get("uid", "${datasource}") for variable in variables.values()} == {
        "${datasource}"
    }
    used = set(re.findall(r"\$(\w+)", " ".join(target["expr"] for panel in panels() for target in panel["targets"])))
    assert used == {"job", "vault", "__rate_interval"}


def test_panels_have_units_and_do_not_overlap() -> None:
    board = dashboard()
    identities = [panel["id"] for panel in board["panels"]]
    assert len(set(identities)) == len(identities)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= GRID_WIDTH
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
    for panel in panels():
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
