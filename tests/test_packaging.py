"""Packaging and documentation agree with the code: images, compose, locks, unit, README, CHANGELOG.

`python -m tests.test_packaging` writes the README's reference tables anew.
"""

import functools
import http.server
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import prometheus_client.metrics
import pytest
import typer.main
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from app import __version__
from app.agent.arguments import build_parser
from app.agent.exit_codes import EXIT_CODE_MEANINGS, ExitCode
from app.agent.unit import render_unit
from app.cli.application import build
from app.cli.server import KEEP_ALIVE_MARGIN_SECONDS, MINIMUM_KEEP_ALIVE_SECONDS
from app.core import errors, metrics
from app.core.setting_types import CLIENT_VARIABLES
from app.core.settings import FILE_VARIABLE, PREFIX, Settings, load_settings
from app.events.meanings import EVENT_MEANINGS
from app.health.policy import WIRE_NAMES
from app.health.rules import RULES, Rule, Unit
from app.main import create_app
from app.vocabulary import HEARTBEATS_PER_TIMEOUT, AlertCode, EventType

REPOSITORY = Path(__file__).resolve().parent.parent
README = REPOSITORY / "README.md"
LOCKS = ("requirements.lock", "requirements-dev.lock")
EXAMPLE_VALUES = {
    "MUSTER_DB_PASSWORD": "0a1b2c",
    "MUSTER_BOOTSTRAP_ADMIN_TOKEN": "0123456789abcdef",
    "MUSTER_SECRET_KEY": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
}
EXIT_CODES_FOR_AN_OPERATOR = {
    ExitCode.USAGE,
    ExitCode.UNUSABLE_STATE,
    ExitCode.CREDENTIAL_REFUSED,
    ExitCode.PURGED,
}

ALWAYS_CRITICAL = {AlertCode.HEARTBEAT_MISSING}
SETTING_NAMES = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}


def read(name: str) -> str:
    """A file of the repository."""
    return (REPOSITORY / name).read_text(encoding="utf-8")


# --- the README's reference tables ---------------------------------------------------------------------------


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def _table(*headings: str, rows: list[tuple[object, ...]]) -> str:
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _settings_table() -> str:
    def default(value: Any) -> str:
        text = str(getattr(value, "value", value))
        return "" if value in (None, "") else f"`{text}`"

    rows: list[tuple[object, ...]] = [
        (f"`{PREFIX}{name.upper()}`", default(field.default), field.description)
        for name, field in Settings.model_fields.items()
    ]
    return _table("setting", "default", "what it is", rows=rows)


def _endpoints() -> list[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        paths = create_app(Settings(data_dir=Path(folder))).api.openapi()["paths"]
    return [
        (method.upper(), path, operation["summary"])
        for path, operations in paths.items()
        for method, operation in operations.items()
    ]


def _endpoint_table() -> str:
    rows: list[tuple[object, ...]] = [(f"`{method} {path}`", summary) for method, path, summary in _endpoints()]
    return _table("method and path", "does", rows=rows)


def _error_table() -> str:
    found = sorted(errors.catalogue().values(), key=lambda entry: (entry.status, entry.code))
    rows: list[tuple[object, ...]] = [
        (entry.status, f"`{entry.code}`", (entry.__doc__ or "").split("\n")[0]) for entry in found
    ]
    return _table("status", "code", "when", rows=rows)


def _event_table() -> str:
    return _table("type", "when", rows=[(f"`{kind.value}`", EVENT_MEANINGS[kind]) for kind in EventType])


def _metric_table() -> str:
    rows: list[tuple[object, ...]] = []
    for value in vars(metrics).values():
        if isinstance(value, prometheus_client.metrics.MetricWrapperBase):
            described = next(iter(value.describe()))
            name = f"{described.name}_total" if described.type == "counter" else described.name
            rows.append((f"`{name}`", described.type, _labels(value._labelnames), described.documentation))
        elif isinstance(value, metrics.Reading):
            rows.append((f"`{value.name}`", "gauge", _labels(value.labels), value.documentation))
    return _table("metric", "kind", "labels", "what it tells", rows=rows)


def _labels(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _alert_table() -> str:
    units = {
        Unit.PERCENT: " %",
        Unit.PERCENT_FREE: " % free",
        Unit.MINUTES: " min",
        Unit.SECONDS: " s",
        Unit.DAYS: " days left",
    }

    def threshold(rule: Rule, value: float | None) -> str:
        if value is None:
            return ""
        if rule.unit is Unit.DAYS and value == 0:
            return "expired"
        return f"{'<' if rule.counts_down else '>'} {value:g}{units[rule.unit]}"

    def end(rule: Rule) -> str:
        return "" if rule.hysteresis is None else f"{rule.hysteresis:g}{units[rule.unit].removesuffix(' free')} behind"

    rows: list[tuple[object, ...]] = [
        (
            f"`{rule.code}`",
            threshold(rule, rule.warning) or ("yes" if rule.code not in ALWAYS_CRITICAL else ""),
            threshold(rule, rule.critical) or ("yes" if rule.code in ALWAYS_CRITICAL else ""),
            end(rule),
            "yes" if rule.is_windowed else "",
            ", ".join(WIRE_NAMES[field] for field in WIRE_NAMES if field in rule.adjustable),
        )
        for rule in RULES.values()
    ]
    return _table("alert", "Warning", "Critical", "ends", "must hold for the window", "a vault can change", rows=rows)


def _exit_code_table() -> str:
    rows: list[tuple[object, ...]] = [(code.value, meaning) for code, meaning in EXIT_CODE_MEANINGS.items()]
    return _table("code", "meaning", rows=rows)


TABLES: dict[str, Callable[[], str]] = {
    "settings": _settings_table,
    "endpoints": _endpoint_table,
    "errors": _error_table,
    "events": _event_table,
    "metrics": _metric_table,
    "alerts": _alert_table,
    "agent exit codes": _exit_code_table,
}


END = "<!-- end -->"


def write_tables() -> None:
    """Put the present tables into the README, between their marks."""
    text = README.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        before, mark, rest = text.partition(f"<!-- table: {name} -->\n")
        assert mark, f"README.md has no table of {name}"
        _, end, after = rest.partition(END)
        text = f"{before}{mark}{table()}\n{end}{after}"
    README.write_text(text, encoding="utf-8")


def _documented_table(name: str) -> str:
    _, mark, rest = read("README.md").partition(f"<!-- table: {name} -->\n")
    assert mark, f"README.md has no table of {name}"
    return rest.partition(END)[0].removesuffix("\n")


@pytest.mark.parametrize("name", TABLES)
def test_the_readme_documents_what_there_is(name: str) -> None:
    expected = TABLES[name]()
    kept = _documented_table(name)
    missing = [line for line in expected.splitlines() if line not in kept.splitlines()]
    wrong = [line for line in kept.splitlines() if line not in expected.splitlines()]
    assert kept == expected, (
        f"the README's table of {name} is not that of the code; `python -m tests.test_packaging` writes it anew\n"
        f"missing: {missing}\nwrong: {wrong}"
    )


def test_every_event_type_has_a_meaning() -> None:
    assert set(EVENT_MEANINGS) == set(EventType)


def test_the_readme_documents_the_clients_variables() -> None:
    for name in (CLIENT_VARIABLES | {FILE_VARIABLE}) - {"MUSTER_TEST_PG_BIN"}:
        assert f"`{name}`" in read("README.md"), f"the README does not tell what {name} is"


def test_the_readme_names_no_variable_that_nothing_reads() -> None:
    compose = set(re.findall(r"\$\{(MUSTER_\w+)", read("docker-compose.yml")))
    known = SETTING_NAMES | CLIENT_VARIABLES | {FILE_VARIABLE} | compose
    assert set(re.findall(r"\bMUSTER_[A-Z_]+[A-Z]\b", read("README.md"))) <= known


def test_links_lead_somewhere() -> None:
    for name in ("README.md", "CHANGELOG.md"):
        text = read(name)
        headings = {re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-") for line in _headings(text)}
        for target in re.findall(r"\]\(([^)]+)\)", text):
            if target.startswith("#"):
                assert target[1:] in headings, f"{name}: there is no heading for {target}"
            elif "://" not in target:
                assert (REPOSITORY / target).exists(), f"{name}: there is no {target}"


def _headings(text: str) -> list[str]:
    outside_of_code = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.findall(r"^#+ (.+)$", outside_of_code, re.MULTILINE)


# --- commands that documents and images give -----------------------------------------------------------------


def _command_lines(text: str) -> list[list[str]]:
    """Every `muster` command of a shell text: the words after `muster`."""
    joined = re.sub(r"\\\n\s*", " ", text).replace("$$", "$")
    found = re.findall(r"(?:^|[\s(])(?:\./dev )?muster ((?:[a-z-]+)(?: [^\n|;&>)`#]*)?)", joined, re.MULTILINE)
    return [[word.replace("\\", "") for word in shlex.split(line)] for line in found]


def _readme_commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", read("README.md"), re.DOTALL)
    return [words for block in blocks for words in _command_lines(block)]


def _check_command(words: list[str]) -> None:
    """Fail unless `muster <words>` is a command with these options."""
    if words[0] == "agent":
        build_parser("muster agent").parse_args(words[1:])
        return
    command: Any = typer.main.get_command(build())
    rest = list(words)
    while hasattr(command, "commands"):
        assert rest, f"`muster {shlex.join(words)}` is not a whole command"
        assert rest[0] in command.commands, f"there is no `muster {shlex.join(words)}`"
        command = command.commands[rest.pop(0)]
    options = {"--help"} | {
        option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    for word in rest:
        if word.startswith("-"):
            assert word.split("=")[0] in options, f"`muster {shlex.join(words)}` has no option {word}"


def test_the_readmes_commands_exist() -> None:
    commands = _readme_commands()
    assert len(commands) > 10
    for words in commands:
        _check_command(words)


def test_the_readmes_dev_commands_exist() -> None:
    usage = read("dev")
    for name in set(re.findall(r"\./dev ([a-z]+)", read("README.md"))):
        assert f"\n    {name})" in usage, f"there is no ./dev {name}"


# --- the image -----------------------------------------------------------------------------------------------


@functools.cache
def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile with their arguments, continued lines joined."""
    lines = [line for line in read("Dockerfile").splitlines() if not line.lstrip().startswith("#")]
    text = "\n".join(lines).replace("\\\n", "")
    return [
        (instruction.upper(), argument.strip())
        for line in text.splitlines()
        if line.strip()
        for instruction, _, argument in [line.strip().partition(" ")]
    ]


def _arguments(instruction: str) -> list[str]:
    return [argument for name, argument in dockerfile() if name == instruction]


def is_pinned(image: str) -> bool:
    """Whether an image is named with a version."""
    return re.fullmatch(r"[a-z0-9./-]+:v?\d[\w.-]*(@sha256:[0-9a-f]{64})?", image) is not None


def test_base_images_are_pinned() -> None:
    defaults = dict(argument.split("=", 1) for argument in _arguments("ARG"))
    stages = [argument.split() for argument in _arguments("FROM")]
    assert len(stages) == 2
    for image, *_ in stages:
        assert is_pinned(re.sub(r"\$\{(\w+)\}", lambda found: defaults[found[1]], image))
    python = Version(re.findall(r":(\d+\.\d+)", defaults["PYTHON_IMAGE"])[0])
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert f"Programming Language :: Python :: {python}" in project["classifiers"]


def test_what_is_copied_into_the_image_exists_and_is_not_ignored() -> None:
    copied = [word for line in _arguments("COPY") if "--from" not in line for word in line.split()[:-1]]
    let_in = {line.removeprefix("!") for line in read(".dockerignore").splitlines() if line.startswith("!")}
    assert set(copied) == let_in
    for name in copied:
        assert (REPOSITORY / name).exists()
    build_inputs = tomllib.loads(read("pyproject.toml"))
    packages = build_inputs["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {"migrations", "app"} == set(packages)
    assert {*packages, build_inputs["project"]["readme"], *build_inputs["project"]["license-files"]} <= set(copied)


def test_the_image_starts_as_an_unprivileged_user_and_stops_in_order() -> None:
    users = _arguments("USER")
    assert len(users) == 1
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[0])
    assert _arguments("STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(_arguments("ENTRYPOINT")[0]) == ["muster"]
    _check_command(json.loads(_arguments("CMD")[0]))
    assert "--require-hashes" in read("Dockerfile")


def test_the_images_variables_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    values = dict(re.findall(r"(MUSTER_\w+)=(\S+)", " ".join(_arguments("ENV"))))
    assert set(values) <= SETTING_NAMES | CLIENT_VARIABLES
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.host == "0.0.0.0"
    assert [str(settings.data_dir)] == json.loads(_arguments("VOLUME")[0])
    assert [str(settings.port)] == _arguments("EXPOSE")


@pytest.fixture
def answering() -> Iterator[tuple[http.server.HTTPServer, list[str]]]:
    """A server that answers GET with 200; the paths it was asked for."""
    paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200 if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server, paths
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_images_health_check_works(answering: tuple[http.server.HTTPServer, list[str]]) -> None:
    server, paths = answering
    program, *arguments = json.loads(_arguments("HEALTHCHECK")[0].split(" CMD ", 1)[1])
    assert program == "python"

    def check(port: int) -> int:
        # A proxy in the environment must not be asked.
        environment = {"MUSTER_PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
        return subprocess.run([sys.executable, *arguments], env=environment, check=False).returncode

    assert check(server.server_port) == 0
    assert paths == ["/healthz"]
    server.shutdown()
    server.server_close()
    assert check(server.server_port) != 0


# --- compose -------------------------------------------------------------------------------------------------


@functools.cache
def compose() -> dict[str, Any]:
    """The compose file as it stands, variables and all."""
    loaded: dict[str, Any] = yaml.safe_load(read("docker-compose.yml"))
    return loaded


def interpolated(value: str) -> str:
    """A value as compose hands it on, with the defaults and with examples for what is required."""

    def chosen(found: re.Match[str]) -> str:
        return EXAMPLE_VALUES[found[1]] if found[2] == ":?" else found[3]

    return re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", chosen, value).replace("$$", "$")


def environment_of(service: str) -> dict[str, str]:
    """The environment of a service."""
    variables = compose()["services"][service]["environment"]
    return {name: interpolated(str(value)) for name, value in variables.items()}


def test_compose_images_are_pinned() -> None:
    services = compose()["services"]
    for service in services.values():
        assert is_pinned(service["image"])
    own = {service["image"] for service in services.values() if "build" in service}
    assert own == {f"muster:{__version__}"}


def test_every_variable_of_compose_has_a_default_or_a_message() -> None:
    # `$$` is a dollar sign of the embedded files.
    text = re.sub(r"\$\$\w*|^\s*#.*", "", read("docker-compose.yml"), flags=re.MULTILINE)
    assert text.count("$") == len(re.findall(r"\$\{\w+:[-?][^}]+\}", text))
    required = set(re.findall(r"\$\{(\w+):\?", text))
    assert required == set(EXAMPLE_VALUES)


def test_compose_sets_only_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(environment_of("migrate")) <= SETTING_NAMES
    assert set(environment_of("agent")) <= CLIENT_VARIABLES | {"MUSTER_LOG_FORMAT"}
    variables = environment_of("api")
    assert set(variables) <= SETTING_NAMES
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert not settings.is_sqlite
    assert not settings.migrates_at_start
    assert environment_of("migrate")["MUSTER_DATABASE_URL"] == settings.database_url


def test_compose_commands_exist() -> None:
    services = compose()["services"]
    for name in ("migrate", "api"):
        _check_command(services[name]["command"])
    script = services["agent"]["command"][0]
    commands = _command_lines(script)
    assert [words[:2] for words in commands] == [["agent", "status"], ["agent", "register"], ["agent", "run"]]
    for words in commands:
        if words[1] == "register":
            words[words.index("--url") + 1] = environment_of("agent")["MUSTER_URL"]
        _check_command(words)


def test_every_service_is_watched_or_runs_once() -> None:
    services = compose()["services"]
    awaited = {
        name
        for service in services.values()
        for name, wanted in service.get("depends_on", {}).items()
        if wanted["condition"] == "service_completed_successfully"
    }
    for name, service in services.items():
        if service["healthcheck"].get("disable"):
            assert name in awaited
            assert service["restart"] == "no"
        else:
            assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
            assert service["restart"] != "no"


def test_the_replicas_start_after_the_migration_and_have_time_to_stop() -> None:
    api = compose()["services"]["api"]
    assert api["deploy"]["replicas"] == 2
    assert api["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert compose()["services"]["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    grace = int(api["stop_grace_period"].removesuffix("s"))
    assert grace > Settings.model_fields["shutdown_seconds"].default


def test_compose_mentions_only_volumes_networks_and_files_that_are_declared() -> None:
    top = compose()
    for service in top["services"].values():
        assert set(service.get("networks", [])) <= set(top["networks"])
        assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= set(top["volumes"])
        assert set(service.get("secrets", [])) <= set(top["secrets"])
        assert {config["source"] for config in service.get("configs", [])} <= set(top["configs"])
    for config in top["configs"].values():
        assert "content" in config or (REPOSITORY / config["file"]).is_file()


# --- the proxy -----------------------------------------------------------------------------------------------


def proxy_configuration() -> str:
    """The proxy's configuration as the proxy reads it."""
    return interpolated(compose()["configs"]["proxy"]["content"])


def test_the_proxy_alone_is_believed() -> None:
    address = compose()["services"]["proxy"]["networks"]["backend"]["ipv4_address"]
    assert environment_of("api")["MUSTER_FORWARDED_ALLOW_IPS"] == address
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in proxy_configuration()


def test_the_proxy_keeps_connections_longer_than_agents_are_silent() -> None:
    clients, upstream = (int(text) for text in re.findall(r"\bkeepalive_timeout (\d+)s;", proxy_configuration()))
    timeout = Settings.model_fields["heartbeat_timeout_seconds"].default
    longest_interval = timeout / HEARTBEATS_PER_TIMEOUT
    replica = max(MINIMUM_KEEP_ALIVE_SECONDS, longest_interval + KEEP_ALIVE_MARGIN_SECONDS)
    assert longest_interval < clients
    assert longest_interval < upstream < replica


def test_the_proxy_takes_the_bodies_that_muster_takes() -> None:
    limit = re.findall(r"client_max_body_size (\d+)m;", proxy_configuration())
    assert [int(size) * 2**20 for size in limit] == [Settings.model_fields["max_body_bytes"].default]


def test_the_proxys_own_answers_are_problems_of_the_catalogue() -> None:
    answers = re.findall(r"return (\d+) '(\{.*\})';", proxy_configuration())
    assert len(answers) == 3
    for status, text in answers:
        problem = json.loads(text.replace("\\'", "'"))
        known = errors.catalogue()[problem["code"]]
        assert (problem["status"], problem["title"]) == (known.status, known.title) == (int(status), known.title)
        assert problem["type"] == f"urn:muster:error:{known.code}"


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_reads_the_proxys_configuration(tmp_path: Path) -> None:
    text = proxy_configuration()
    # Names that only compose resolves, and directives newer than what a distribution may have.
    text = re.sub(r"resolver [^;]*;", "", text).replace("server api:8000 resolve ", "server 127.0.0.1:8000 ")
    text = re.sub(r"listen 80 ", "listen 127.0.0.1:18080 ", text)
    text = re.sub(r"/dev/std\w+|/var/run/nginx.pid", lambda found: str(tmp_path / Path(found[0]).name), text)
    (tmp_path / "nginx.conf").write_text(text)
    tested = subprocess.run(
        ["nginx", "-t", "-p", tmp_path, "-c", "nginx.conf", "-e", tmp_path / "errors"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode == 0, tested.stderr


# --- the agent's unit ----------------------------------------------------------------------------------------


def test_the_unit_gives_up_where_an_operator_is_needed() -> None:
    unit = render_unit(["/opt/muster/bin/muster", "agent"], PurePosixPath("/var/lib/muster-agent"))
    prevented = re.findall(r"^RestartPreventExitStatus=(.+)$", unit, re.MULTILINE)
    assert {int(code) for code in prevented[0].split()} == EXIT_CODES_FOR_AN_OPERATOR
    assert "@" not in re.sub(r"^(#|SystemCallFilter).*$", "", unit, flags=re.MULTILINE)
    command = re.findall(r"^ExecStart=\S+/muster (.+)$", unit, re.MULTILINE)
    _check_command(shlex.split(command[0]))


# --- locks, versions, CI -------------------------------------------------------------------------------------


@functools.cache
def locked(name: str) -> dict[str, tuple[Requirement, int]]:
    """The requirements of a lock file with the number of their hashes."""
    text = re.sub(r"^\s*#.*$", "", read(name), flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, tuple[Requirement, int]] = {}
    for line in filter(str.strip, text.splitlines()):
        requirement = Requirement(line.split(" --hash")[0].strip())
        found[canonicalize_name(requirement.name)] = (requirement, len(re.findall(r"--hash=sha256:[0-9a-f]{64}", line)))
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_locks_pin_with_hashes_and_name_no_host(name: str) -> None:
    assert "://" not in read(name)
    assert not re.search(r"^\s*--(?!hash)", read(name), re.MULTILINE)
    for requirement, hashes in locked(name).values():
        assert [specifier.operator for specifier in requirement.specifier] == ["=="], requirement
        assert hashes, requirement


def test_locks_hold_what_the_project_asks_for() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    wanted = {
        "requirements.lock": project["dependencies"] + extras["build"],
        "requirements-dev.lock": project["dependencies"] + extras["dev"],
    }
    for name, requirements in wanted.items():
        for requirement in map(Requirement, requirements):
            pinned, _ = locked(name)[canonicalize_name(requirement.name)]
            version = next(iter(pinned.specifier)).version
            assert requirement.specifier.contains(version), f"{name} has {pinned}, the project asks for {requirement}"


def test_both_locks_have_the_same_versions() -> None:
    development = locked("requirements-dev.lock")
    for name, (requirement, _) in locked("requirements.lock").items():
        assert development[name][0].specifier == requirement.specifier


def test_the_build_backend_is_locked() -> None:
    backend = Requirement(tomllib.loads(read("pyproject.toml"))["build-system"]["requires"][0])
    assert locked("requirements.lock")["hatchling"][0].specifier == backend.specifier


def test_the_changelog_knows_this_version() -> None:
    assert re.search(rf"^## \[?{re.escape(__version__)}\b", read("CHANGELOG.md"), re.MULTILINE)


def test_ci_runs_the_checks_and_the_tests() -> None:
    script = REPOSITORY / ".ci" / "run"
    assert script.stat().st_mode & 0o111 == 0o111
    assert re.findall(r"^step (.+)$", script.read_text(), re.MULTILINE) == ["./dev check", "./dev test"]
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


if __name__ == "__main__":
    write_tables()
