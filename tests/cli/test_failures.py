"""Failures: what the operator is told, where, and the exit code."""

import json
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from app.cli.failures import EXIT_CODE_MEANINGS
from tests.cli.fake_api import FakeApi, Muster

VAULT = "/api/v1/vaults/prod"


@pytest.mark.parametrize(
    ("status", "exit_code"),
    [
        (400, 1),
        (401, 4),
        (403, 4),
        (404, 5),
        (409, 6),
        (410, 1),
        (412, 6),
        (422, 1),
        (429, 1),
        (500, 1),
        (503, 7),
    ],
)
def test_each_refusal_has_its_exit_code_and_is_explained(
    api: FakeApi, muster: Muster, status: int, exit_code: int
) -> None:
    api.refuse("GET", VAULT, status, "some-code")
    result = muster("vault", "show", "prod")
    assert (result.exit_code, result.stdout) == (exit_code, "")
    for part in ("Title of some-code", "detail of some-code", "code: some-code", "request: request-17"):
        assert part in result.stderr


def test_every_exit_code_is_in_the_help(muster: Muster) -> None:
    output = " ".join(muster("--help").stdout.split())
    for code, meaning in EXIT_CODE_MEANINGS.items():
        assert f"{code:d} {meaning}" in output


def test_field_errors_and_other_members_are_listed(api: FakeApi, muster: Muster) -> None:
    api.refuse(
        *("POST", "/api/v1/vaults", 422, "invalid"),
        errors=[
            {"pointer": "#/name", "detail": "'?' is not a name"},
            {"pointer": "#/location", "detail": "too long"},
        ],
    )
    stderr = muster("vault", "create", "?", "--location", "x").stderr
    assert "- #/name: '?' is not a name" in stderr
    assert "- #/location: too long" in stderr
    api.refuse(
        *("GET", f"{VAULT}/process-servers/twin", 409, "ambiguous-name"),
        candidates=[
            {"id": "id-1", "configurationServer": "cs-1"},
            {"id": "id-2", "configurationServer": "cs-2"},
        ],
    )
    result = muster("ps", "show", "twin")
    assert result.exit_code == 6
    assert "- id id-1, configurationServer cs-1" in result.stderr
    assert "- id id-2, configurationServer cs-2" in result.stderr


def test_a_field_error_that_the_detail_tells_is_not_told_twice(api: FakeApi, muster: Muster) -> None:
    error = {"pointer": "#/name", "detail": "is required"}
    api.refuse("POST", "/api/v1/vaults", 422, "invalid", detail="#/name: is required", errors=[error])
    assert muster("vault", "create", "x", "--location", "x").stderr.count("is required") == 1


def test_with_json_the_problem_document_goes_to_standard_error(api: FakeApi, muster: Muster) -> None:
    api.refuse("GET", VAULT, 404, "vault-not-found")
    result = muster("vault", "show", "prod", "--json")
    assert (result.exit_code, result.stdout) == (5, "")
    assert json.loads(result.stderr)["code"] == "vault-not-found"


def test_retry_after_is_passed_on(api: FakeApi, muster: Muster) -> None:
    problem = {"title": "Too many", "status": 429, "code": "too-many-requests"}
    api.answer("GET", VAULT, problem, status=429, headers={"Retry-After": "7"})
    assert "try again in 7 s" in muster("vault", "show", "prod").stderr


@pytest.mark.parametrize("body", ["<h1>Bad gateway</h1>", ""])
def test_the_answer_of_a_proxy_is_not_taken_for_musters(api: FakeApi, muster: Muster, body: str) -> None:
    api.on("GET", VAULT, lambda _: httpx.Response(502, html=body))
    result = muster("vault", "show", "prod")
    assert result.exit_code == 7
    assert "HTTP 502" in result.stderr
    assert "not an answer of Muster" in result.stderr


def test_a_redirect_names_its_target_and_is_not_followed(api: FakeApi, muster: Muster) -> None:
    location = {"Location": "https://muster.example/"}
    api.on("GET", VAULT, lambda _: httpx.Response(308, headers=location))
    result = muster("vault", "show", "prod")
    assert result.exit_code == 1
    assert "https://muster.example/" in result.stderr
    assert [request.url.host for request in api.requests] == ["127.0.0.1"]


@pytest.mark.parametrize("answer", [httpx.Response(200, html="<p>hello"), httpx.Response(200, json={"hello": 1})])
def test_a_stranger_on_the_port_is_told_from_muster(api: FakeApi, muster: Muster, answer: httpx.Response) -> None:
    api.on("GET", "/api/v1/vaults", lambda _: answer)
    result = muster("vault", "list")
    assert result.exit_code == 1
    assert "not a list of Muster's" in result.stderr


def test_nobody_listening_is_said_with_a_remedy(api: FakeApi, muster: Muster) -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("[Errno 111] Connection refused")

    api.on("GET", VAULT, refuse)
    local = muster("vault", "show", "prod")
    assert local.exit_code == 7
    assert "nothing answers at http://127.0.0.1:8000" in local.stderr
    assert "muster serve" in local.stderr
    remote = muster("vault", "show", "prod", "--url", "https://muster.example")
    assert remote.exit_code == 7
    assert "muster serve" not in remote.stderr
    assert "--url" in remote.stderr


def test_an_untrusted_certificate_points_to_the_ca_file(api: FakeApi, muster: Muster) -> None:
    def distrust(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate")

    api.on("GET", VAULT, distrust)
    result = muster("vault", "show", "prod", "--url", "https://muster.example")
    assert result.exit_code == 7
    assert "--ca-file" in result.stderr


def test_a_time_out_names_its_length(api: FakeApi, muster: Muster) -> None:
    def sleep(request: httpx.Request) -> httpx.Response:
        assert request.extensions["timeout"]["read"] == 4.5
        raise httpx.ReadTimeout("timed out")

    api.on("GET", VAULT, sleep)
    result = muster("vault", "show", "prod", "--timeout", "4.5")
    assert result.exit_code == 7
    assert "within 4.5 s" in result.stderr


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://", "http://admin:secret@muster.example"])
def test_a_url_that_can_not_be_used_is_a_usage_error(api: FakeApi, muster: Muster, url: str) -> None:
    result = muster("vault", "list", "--url", url)
    assert result.exit_code == 2
    assert "secret" not in result.output
    assert api.requests == []


def test_a_ca_file_that_can_not_be_used_is_named(tmp_path: Path, api: FakeApi, muster: Muster) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    for name in ("empty.pem", "absent.pem"):
        result = muster("vault", "list", "--url", "https://muster.example", env={"MUSTER_CA_FILE": name})
        assert result.exit_code == 2
        assert name in result.stderr
    assert api.requests == []


def test_the_ca_file_is_the_only_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.cli.credentials import Endpoint
    from app.cli.transport import connect

    seen: list[str | None] = []
    real = ssl.create_default_context

    def record(cafile: Path | None = None) -> ssl.SSLContext:
        seen.append(None if cafile is None else str(cafile))
        return real()

    monkeypatch.setattr(ssl, "create_default_context", record)
    for ca_file in (None, Path("ca.pem")):
        connect(Endpoint(url="https://muster.example", ca_file=ca_file), headers={}).close()
    assert seen == [None, "ca.pem"]


@pytest.mark.parametrize("name", ["", " ", ".", ".."])
def test_a_name_never_becomes_another_path(api: FakeApi, muster: Muster, name: str) -> None:
    result = muster("vault", "delete", name, "--yes")
    assert result.exit_code == 2
    assert api.requests == []


def test_a_name_is_quoted(api: FakeApi, muster: Muster) -> None:
    muster("vault", "show", "a/b?c#d")
    assert api.requests[0].url.raw_path == b"/api/v1/vaults/a%2Fb%3Fc%23d"


def test_a_real_port_that_nobody_listens_on_ends_with_seven() -> None:
    done = _run_for_real("http://127.0.0.1:9", {"HTTP_PROXY": "nonsense://no.proxy"})
    assert done.returncode == 7
    assert "nothing answers at http://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_proxy_that_can_not_be_used_is_a_usage_error() -> None:
    done = _run_for_real("http://muster.example", {"HTTP_PROXY": "nonsense://user:hidden@no.proxy"})
    assert done.returncode == 2
    assert "HTTP_PROXY" in done.stderr
    assert "hidden" not in done.stderr
    assert "Traceback" not in done.stderr


def _run_for_real(url: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from app.cli import main; main()", "vault", "list", "--url", url]
    variables = {"MUSTER_TOKEN": "t" * 40, "PATH": "", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
