"""The OpenAPI document: complete enough to build a client from, and true (see tests/support/contract.py)."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from app.core.errors import catalogue
from app.core.problems import MEDIA_TYPE
from app.core.settings import Settings
from app.main import SHARED, create_app


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The document of the application."""
    folder: Path = tmp_path_factory.mktemp("openapi")
    return create_app(Settings(data_dir=folder)).api.openapi()


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield path, method, operation


def _schema(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    name = schema["$ref"].removeprefix("#/components/schemas/")
    found: dict[str, Any] = document["components"]["schemas"][name]
    return found


def _has_example(document: dict[str, Any], content: dict[str, Any]) -> bool:
    if "example" in content or content.get("examples"):
        return True
    schema = _schema(document, content["schema"])
    return bool(schema.get("examples")) or all(
        _schema(document, choice).get("examples") for choice in schema.get("anyOf", [{}])
    )


def test_each_operation_is_described(document: dict[str, Any]) -> None:
    tags = {entry["name"] for entry in document["tags"]}
    ids = [operation["operationId"] for _, _, operation in _operations(document)]
    assert len(ids) == len(set(ids))
    assert len(ids) >= 31
    used = set()
    for path, method, operation in _operations(document):
        where = f"{method} {path}"
        assert operation["summary"], where
        assert operation["description"], where
        assert re.fullmatch(r"[a-z]+([A-Z][a-z]+)+", operation["operationId"]), where
        assert len(operation["tags"]) == 1, where
        used |= set(operation["tags"])
        for parameter in operation.get("parameters", []):
            if parameter["name"] in {"limit", "q", "orderBy", "cursor", "vault", "cs", "ps"}:
                assert parameter.get("description"), f"{where} {parameter['name']}"
    assert used == tags


def test_bodies_and_answers_have_examples(document: dict[str, Any]) -> None:
    for path, method, operation in _operations(document):
        where = f"{method} {path}"
        if "requestBody" in operation:
            content = operation["requestBody"]["content"]
            assert list(content) in (["application/json"], ["application/x-ndjson", "text/csv"]), where
            assert all(_has_example(document, entry) for entry in content.values()), where
        good = {status: answer for status, answer in operation["responses"].items() if status < "400"}
        assert good, where
        for status, answer in good.items():
            assert answer["description"], where
            assert (status == "204") == (not answer.get("content")), f"{where} {status}"
            for media_type, content in answer.get("content", {}).items():
                assert _has_example(document, content), f"{where} {status} {media_type}"


def test_errors_are_problems_with_examples(document: dict[str, Any]) -> None:
    known = catalogue()
    for path, method, operation in _operations(document):
        where = f"{method} {path}"
        bad = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        assert {"500", "503"} <= set(bad), where
        if path.startswith("/api/"):
            assert {"401", "403", "422"} <= set(bad), where
        if "{" in path:
            assert "404" in bad, where
        if "requestBody" in operation:
            assert {"400", "413", "415", "422"} <= set(bad), where
        for status, answer in bad.items():
            assert answer["description"], where
            assert list(answer["content"]) == [MEDIA_TYPE], f"{where} {status}"
            content = answer["content"][MEDIA_TYPE]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}, where
            assert content["examples"], where
            for code, example in content["examples"].items():
                assert known[code].status == int(status)
                assert example["value"]["code"] == code
                assert example["value"]["status"] == int(status)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = set(re.findall(r"'\$ref': '([^']+)'", str(document)))
    assert "#/components/schemas/Problem" in references
    for reference in references:
        assert _schema(document, {"$ref": reference})
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_security_is_declared(document: dict[str, Any]) -> None:
    assert set(document["components"]["securitySchemes"]) == {"apiToken", "agentCredential"}
    for path, _, operation in _operations(document):
        schemes = {name for entry in operation.get("security", []) for name in entry}
        if path.startswith("/api/"):
            assert schemes == {"apiToken"}, path
        elif path.startswith("/agent/") and not path.endswith("/register"):
            assert schemes == {"agentCredential"}, path
        else:
            assert schemes == set(), path


def test_the_wire_is_camel_case(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        for field in schema.get("properties", {}):
            assert re.fullmatch(r"[a-z][A-Za-z0-9]*", field), f"{name}.{field}"


def test_examples_are_valid(document: dict[str, Any]) -> None:
    """Required members are in the examples, and nothing that the schema does not know."""
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", []):
            known, required = set(schema["properties"]), set(schema.get("required", []))
            assert required <= set(example) <= known, name


def test_every_error_of_the_catalogue_has_a_code_and_a_title() -> None:
    for code, kind in catalogue().items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
        assert kind.title[0].isupper()
        assert not kind.title.endswith(".")
        assert 400 <= kind.status <= 599


def test_lists_take_pages_and_creations_an_idempotency_key(document: dict[str, Any]) -> None:
    for path, method, operation in _operations(document):
        names = {parameter["name"] for parameter in operation.get("parameters", [])}
        if method == "get" and operation["operationId"].startswith("list"):
            assert {"limit", "cursor"} <= names, path
            assert "400" in operation["responses"], path
        if method in {"patch", "delete"} and path.startswith("/api/v1/vaults") and "registration-keys" not in path:
            assert "If-Match" in names, path
            assert "412" in operation["responses"], path
        # The others change nothing, or are harmless to repeat by their nature, as purging is.
        if method == "post" and {"201", "202"} & set(operation["responses"]):
            assert "Idempotency-Key" in names, path
            assert "409" in operation["responses"], path


def _called(dependant: Dependant) -> Iterator[Any]:
    yield dependant.call
    for inner in dependant.dependencies:
        yield from _called(inner)


def test_no_operation_needs_a_thread() -> None:
    seen = 0
    for context in iter_route_contexts(SHARED.routes):
        assert isinstance(context.route, APIRoute)
        for call in _called(context.route.dependant):
            asked = call if inspect.isroutine(call) else type(call).__call__
            is_async = inspect.iscoroutinefunction(asked) or inspect.isasyncgenfunction(asked)
            assert is_async, f"{context.path}: the framework runs {call} in a thread, which costs more than it does"
            seen += 1
    assert seen > 200
