"""Whatever goes wrong leaves as a problem+json that names the values and never a secret.

`tests/support/contract.py` checks the members of every problem in every test.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import structlog

from app.core.db import Database
from app.vaults import service as vaults
from tests.support.contract import document_of
from tests.support.muster import ADMIN_TOKEN, Site, machine, pointers, problem, registration

JSON = {"Content-Type": "application/json"}
VAULTS = "/api/v1/vaults"
REGISTER_CS = "/agent/v1/configuration-servers/register"
REGISTER_PS = "/agent/v1/process-servers/register"


@pytest.mark.parametrize(
    "body",
    [b"{", b'{"name":', b"{'name': 'x'}", b'\xff\xfe{"name"', b'{"name": "\xff"}', b"[" * 200_000, b"9" * 5_000],
    ids=["cut", "cut value", "single quotes", "utf-16", "not utf-8", "deeply nested", "huge number"],
)
async def test_what_is_not_json_is_400(site: Site, body: bytes) -> None:
    answer = await site.client.post(VAULTS, content=body, headers=JSON)
    problem(answer, 400, "malformed-json")


async def test_deeply_nested_json_is_refused_wherever_it_stands(site: Site) -> None:
    deep = b'{"name":' + b"[" * 900 + b"]" * 900 + b"}"
    answer = await site.client.post(VAULTS, content=deep, headers=JSON)
    assert answer.status_code in {400, 422}, answer.text


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": 7, "location": "x"}, "#/name"),
        ({"name": "contoso", "location": ["x"]}, "#/location"),
        ({"name": "contoso"}, "#/location"),
        ({"name": "contoso", "location": ""}, "#/location"),
        ({"name": "contoso", "location": "x" * 256}, "#/location"),
        ({"name": "contoso", "location": "a\u0000b"}, "#/location"),
        ({"name": "contoso", "location": "x", "a/b~c": 1}, "#/a~1b~0c"),
        ({"name": "contoso", "location": "x", "friendly_name": "x"}, "#/friendly_name"),
        ({"name": "", "location": "x"}, "#/name"),
        ({"name": "a" * 64, "location": "x"}, "#/name"),
        ({"name": "con_toso", "location": "x"}, "#/name"),
        ({"name": "contoso\n", "location": "x"}, "#/name"),
        ({"name": "0192f0c1-7b1e-7cc3-98c4-dc0c0c07398f", "location": "x"}, "#/name"),
        ([], "#"),
        ("contoso", "#"),
        (None, "#"),
    ],
)
async def test_wrong_input_is_422_with_a_pointer(site: Site, body: Any, pointer: str) -> None:
    answer = await site.client.post(VAULTS, content=json.dumps(body), headers=JSON)
    assert pointers(answer) == [pointer]


async def test_every_wrong_field_is_named_at_once(site: Site) -> None:
    answer = await site.client.post(VAULTS, json={"nmae": "contoso", "friendlyName": 3})
    assert set(pointers(answer)) == {"#/nmae", "#/friendlyName", "#/name", "#/location"}


async def test_a_missing_body_is_422(site: Site) -> None:
    assert pointers(await site.client.post(VAULTS)) == ["#"]


@pytest.mark.parametrize("text", ["\\ud800", "a\\udfffb"])
@pytest.mark.parametrize("field", ["name", "location", "friendlyName"])
async def test_half_a_surrogate_pair_is_422(site: Site, field: str, text: str) -> None:
    body = {"name": '"contoso"', "location": '"x"', field: f'"{text}"'}
    content = "{" + ",".join(f'"{name}":{value}' for name, value in body.items()) + "}"
    assert pointers(await site.client.post(VAULTS, content=content, headers=JSON)) == [f"#/{field}"]


@pytest.mark.parametrize(
    "member",
    [
        '"\\ud800": 1',
        '"ipAddresses": ["\\ud800"]',
        '"agentVersion": "\\udfff"',
        '"kind": "\\udfff"',
        '"os": {"\\ud800": 1}',
        '"os": {"type": "\\ud800"}',
        '"hostId": "\\ud800"',
        '"passphrase": "\\ud800"',
    ],
)
async def test_half_a_surrogate_pair_is_no_fault_of_ours(site: Site, member: str) -> None:
    body = registration({"configurationServer": "cs-1", "passphrase": "x"}, "ps-1")
    body.pop(json.loads("{" + member + "}").popitem()[0], None)
    content = json.dumps(body)[:-1] + f", {member}" + "}"
    answer = await site.client.post(REGISTER_PS, content=content, headers=JSON)
    assert answer.status_code in {400, 422}, answer.text


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_a_body_that_is_not_declared_as_json_is_415(site: Site, content_type: str) -> None:
    content = b'{"name": "contoso", "location": "x"}'
    answer = await site.client.post(VAULTS, content=content, headers={"Content-Type": content_type})
    problem(answer, 415, "unsupported-media-type")


async def test_json_with_a_charset_or_a_suffix_is_taken(site: Site) -> None:
    for name, content_type in (("a", "application/json; charset=utf-8"), ("b", "application/vnd.muster+json")):
        content = json.dumps({"name": name, "location": "x"})
        answer = await site.client.post(VAULTS, content=content, headers={"Content-Type": content_type})
        assert answer.status_code == 201, answer.text


async def _chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 65_536):
        yield b"x" * 65_536


@pytest.mark.parametrize("path", [VAULTS, REGISTER_CS, REGISTER_PS, "/agent/v1/heartbeat", "/nowhere"])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["announced", "chunked"])
async def test_two_megabytes_are_413(site: Site, path: str, is_chunked: bool) -> None:
    content: Any = _chunks(2 * 2**20) if is_chunked else b"x" * 2 * 2**20
    answer = await site.client.post(path, content=content, headers=JSON)
    problem(answer, 413, "body-too-large")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("announced", ["9" * 30, "²"])
async def test_a_strange_content_length_is_no_fault_of_ours(site: Site, announced: str) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", announced.encode("latin-1"))]
    answer = await site.client.post(VAULTS, content=b"{}", headers=headers)
    assert answer.status_code in {413, 422}, answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api",
        "/api/v2/vaults",
        "/api/v1/vaults/",
        "/agent/v1",
        "/docs/assets/none.js",
        "/%00",
        "/api/v1/vaults/a/b",
    ],
)
async def test_an_unknown_path_is_404(site: Site, path: str) -> None:
    problem(await site.client.get(path), 404, "not-found")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v1/vaults", "GET, POST"),
        ("/api/v1/vaults/contoso", "DELETE, GET, PATCH"),
        ("/api/v1/vaults/contoso/registration-keys", "GET, POST"),
        ("/api/v1/vaults/contoso/configuration-servers/cs-1", "DELETE, GET, PATCH"),
        ("/api/v1/vaults/contoso/process-servers/ps-1", "GET, PATCH"),
        ("/api/v1/tokens", "GET, POST"),
        ("/api/v1/tokens/0192f0c1-7b1e-7cc3-98c4-dc0c0c07398f", "DELETE"),
        ("/agent/v1/heartbeat", "POST"),
        ("/agent/v1/desired-state", "GET"),
        ("/healthz", "GET"),
        ("/docs", "GET"),
        ("/docs/assets/swagger-ui.css", "GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_405_and_allow_is_complete(site: Site, path: str, allowed: str) -> None:
    for method in ("PUT", "OPTIONS", "TRACE", "PROPFIND"):
        answer = await site.client.request(method, path)
        problem(answer, 405, "method-not-allowed")
        assert answer.headers["allow"] == allowed
        assert method in answer.json()["detail"]
    if "HEAD" not in allowed:
        answer = await site.client.head(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


async def test_allow_agrees_with_the_document(site: Site) -> None:
    document = document_of(site.app.api)
    for path, operations in document["paths"].items():
        filled = path.replace("{token}", "x").replace("{", "").replace("}", "")
        answer = await site.client.request("TRACE", filled)
        # HEAD goes with GET wherever it is served; the document does not list it.
        allowed = set(answer.headers["allow"].split(", ")) - {"HEAD"}
        assert allowed == {method.upper() for method in operations}, path


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "#/query/limit"),
        ("limit=501", "#/query/limit"),
        ("limit=x", "#/query/limit"),
        ("limit=", "#/query/limit"),
        ("limit=1e2", "#/query/limit"),
        (f"limit={'9' * 30}", "#/query/limit"),
        ("orderBy=location", "#/query/orderBy"),
        ("orderBy=--name", "#/query/orderBy"),
        ("orderBy=", "#/query/orderBy"),
        (f"q={'x' * 101}", "#/query/q"),
        ("q=a%00b", "#/query/q"),
        (f"cursor={'x' * 2001}", "#/query/cursor"),
    ],
)
async def test_wrong_queries_are_422_with_a_pointer(site: Site, query: str, pointer: str) -> None:
    assert pointers(await site.client.get(f"{VAULTS}?{query}")) == [pointer]


STRANGE_PATHS: list[str] = [
    "vaults/con%00toso",
    "vaults/contoso/configuration-servers/cs%00",
    "vaults/contoso/configuration-servers/cs%00/process-servers",
    "vaults/contoso/configuration-servers/cs-1/process-servers/%00",
    "vaults/contoso/process-servers/%00ps",
    "vaults/contoso/process-servers/%ED%A0%80",
    "vaults/contoso/process-servers/%FF",
]


async def test_strange_names_in_paths_are_404(site: Site, subtests: pytest.Subtests) -> None:
    await site.vault()
    await site.configuration_server()
    for path in STRANGE_PATHS:
        with subtests.test(path=path):
            answer = await site.client.get(f"/api/v1/{path}")
            assert answer.status_code == 404, answer.text


async def test_strange_filters_find_nothing_and_break_nothing(site: Site) -> None:
    await site.vault()
    servers, events = "/api/v1/vaults/contoso/process-servers", "/api/v1/vaults/contoso/events"
    assert (await site.client.get(f"{servers}?configurationServer=%00")).json()["items"] == []
    assert (await site.client.get(f"{events}?resource=%00")).json()["items"] == []
    assert pointers(await site.client.get(f"{servers}?q=%00")) == ["#/query/q"]
    assert pointers(await site.client.get(f"{events}?type=%00")) == ["#/query/type/0"]
    assert pointers(await site.client.get(f"{events}?since=yesterday")) == ["#/query/since"]
    assert pointers(await site.client.get(f"{events}?since=2026-01-01T00:00:00")) == ["#/query/since"]
    assert pointers(await site.client.get(f"{events}?until=9999-12-31T23:59:59-14:00")) == ["#/query/until"]
    assert pointers(await site.client.get(f"{events}?severity=Bad")) == ["#/query/severity/0"]
    for q in ("%25", "_", "\\", "'"):
        answer = await site.client.get(servers, params={"q": q})
        assert answer.status_code == 200, answer.text
        assert answer.json()["items"] == []


SECRET = "very-secret-9f8e7d"


@pytest.mark.parametrize(
    "value",
    [[SECRET], {"x": SECRET}, SECRET * 500, "", None, 7, f"{SECRET}\u0000", f"{'0' * 32}.{SECRET}\ud800"],
    ids=["list", "object", "too long", "empty", "null", "number", "NUL", "surrogate"],
)
@pytest.mark.parametrize(("path", "field"), [(REGISTER_CS, "registrationKey"), (REGISTER_PS, "passphrase")])
async def test_a_wrong_typed_secret_is_never_shown(site: Site, path: str, field: str, value: Any) -> None:
    body = registration({"configurationServer": "cs-1", "passphrase": "x"}, "ps-1")
    if path == REGISTER_CS:
        body = machine("cs-1")
    content = json.dumps({**body, field: value})
    answer = await site.client.post(path, content=content, headers=JSON)
    assert answer.status_code in {401, 422}, answer.text
    assert SECRET not in answer.text
    if answer.status_code == 422:
        assert pointers(answer) == [f"#/{field}"]


async def test_a_secret_under_a_misspelt_name_is_never_shown(site: Site) -> None:
    body = registration({"configurationServer": "cs-1", "passphrase": "x"}, "ps-1")
    answer = await site.agent_post(REGISTER_PS, {**body, "Passphrase": SECRET})
    assert pointers(answer) == ["#/Passphrase"]
    assert SECRET not in answer.text
    answer = await site.client.post(REGISTER_PS, json=SECRET)
    assert pointers(answer) == ["#"]
    assert SECRET not in answer.text


async def test_an_unhandled_fault_is_a_problem_and_in_the_log(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("a fault for the test")

    monkeypatch.setattr(vaults, "read", broken)
    with structlog.testing.capture_logs() as lines:
        answer = await site.client.get(f"{VAULTS}/contoso", headers={"X-Request-ID": "r-1"})
    document = problem(answer, 500, "internal-error")
    assert document["requestId"] == answer.headers["x-request-id"] == "r-1"
    assert "a fault for the test" not in answer.text
    fault = next(line for line in lines if line["event"] == "unhandled fault")
    assert (fault["request_id"], fault["log_level"]) == ("r-1", "error")
    assert "a fault for the test" in repr(fault["exc_info"])
    assert ADMIN_TOKEN not in repr(lines)


async def test_a_fault_changes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    create = vaults.create

    async def broken(*arguments: Any) -> None:
        await create(*arguments)
        raise RuntimeError("after the change")

    monkeypatch.setattr(vaults, "create", broken)
    problem(await site.client.post(VAULTS, json={"name": "contoso", "location": "x"}), 500, "internal-error")
    assert (await site.client.get(VAULTS)).json()["items"] == []


@pytest.fixture
def unreachable(database_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Database:
    """A database that can't be connected to."""
    if database_kind == "sqlite":
        return Database(f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('none')}/none/muster.db")
    return Database("postgresql+asyncpg://muster@127.0.0.1:1/muster")


async def test_a_database_that_is_down_is_503(site: Site, unreachable: Database) -> None:
    working, site.app.state.database = site.app.state.database, unreachable
    try:
        answers = [
            await site.client.get(VAULTS),
            await site.client.post(VAULTS, json={"name": "contoso", "location": "x"}),
            await site.agent_post(REGISTER_CS, {**machine("cs-1"), "registrationKey": "x"}),
        ]
    finally:
        site.app.state.database = working
        await unreachable.close()
    for answer in answers[:2]:
        problem(answer, 503, "database-unavailable")
        assert int(answer.headers["retry-after"]) > 0
    assert (await site.client.get("/healthz")).status_code == 200


async def test_a_good_request_id_is_echoed(site: Site) -> None:
    for path, status in ((VAULTS, 200), ("/nowhere", 404)):
        answer = await site.client.get(path, headers={"X-Request-ID": "trace-1/a:b=c"})
        assert (answer.status_code, answer.headers["x-request-id"]) == (status, "trace-1/a:b=c")
    assert answer.json()["requestId"] == "trace-1/a:b=c"


@pytest.mark.parametrize("presented", ["", "a b", "x" * 129, "a\tb", "ü", '"', "a,b"])
async def test_a_bad_request_id_is_replaced(site: Site, presented: str) -> None:
    headers = [(b"x-request-id", presented.encode("latin-1"))]
    first, second = [await site.client.get("/nowhere", headers=headers) for _ in range(2)]
    assert first.headers["x-request-id"] == first.json()["requestId"] != presented
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


async def test_the_heartbeat_path_gives_the_same_problems(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    headers = {"Authorization": f"Bearer {server['credential']}", "X-Request-ID": "beat-1"}

    async def post(content: bytes) -> httpx.Response:
        return await site.client.post("/agent/v1/heartbeat", content=content, headers=headers)

    for content in (b"{", b"\xff", b"[" * 10_000):
        document = problem(await post(content), 400, "malformed-json")
        assert document["requestId"] == "beat-1"
    assert "#/bootId" in pointers(await post(b"{}"))
    assert pointers(await post(b"[]")) == ["#"]
    problem(await site.beat("nonsense"), 401, "credential-refused")
