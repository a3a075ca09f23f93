"""The OpenAPI document: descriptions, and examples where models of lists have none of their own."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from app.core.problems import Problem
from app.core.wire import WireIn, WireOut

DESCRIPTION = """
Muster models **vault > configuration servers > process servers > source machines** and watches over them.

* Operators and portals use `/api/v1` with an API token, agents `/agent/v1` with the credential they got at
  registration.
* JSON is camelCase. Times are RFC 3339 UTC ending in `Z`; units are in the name; 1 GB = 2^30 bytes.
* Errors are `application/problem+json` with a stable `code`.
* Lists take `limit` (1 to 500) and `cursor` and answer `{"items": [...], "nextCursor": null}`.
* Single resources carry an `ETag`; `If-Match` on PATCH and DELETE gives 412 when it is stale.
* POSTs that create accept an `Idempotency-Key`.
"""

TAGS = [
    {"name": "vaults", "description": "The top of the tree."},
    {"name": "registration keys", "description": "Let configuration servers in; valid five days."},
    {"name": "configuration servers", "description": "Each coordinates one site."},
    {"name": "process servers", "description": "Receive, cache and upload replication data."},
    {"name": "source machines", "description": "The protected machines, each carried by one process server."},
    {"name": "balancing", "description": "Moving source machines between process servers."},
    {"name": "versions", "description": "The release catalogue, compatibility, and the way to newer releases."},
    {"name": "sizing", "description": "How many servers a load needs, and of which size."},
    {"name": "alerts", "description": "What fires and what fired, and when it does."},
    {"name": "events", "description": "What happened, numbered in order."},
    {"name": "notifications", "description": "Who is told of events: webhooks and mail, and what became of it."},
    {"name": "purge", "description": "The end of what is dead, and the way back."},
    {"name": "brakes", "description": "Sites that fell silent at once, and when their servers count as lost."},
    {"name": "jobs", "description": "Long-running operations: how far they are, how they ended."},
    {"name": "tokens", "description": "Access of operators and portals."},
    {"name": "agents", "description": "What the agents on servers call."},
    {"name": "downloads", "description": "The agent package, served by Muster itself."},
    {"name": "operations", "description": "Liveness, readiness, metrics."},
]

PAGE_PREFIX = "Page_"


def install(app: FastAPI) -> None:
    """Complete the generated document once and keep it."""
    generate = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            schemas = document["components"]["schemas"]
            schemas[Problem.__name__] = Problem.model_json_schema()
            _unwrap_optional_bodies(document["paths"])
            _restore_examples(schemas)
            _give_pages_examples(schemas)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]


def _unwrap_optional_bodies(paths: dict[str, Any]) -> None:
    """Show the model of a body that may be left out, in place of "the model or null", which has no example."""
    for operations in paths.values():
        for operation in operations.values():
            for media_type in operation.get("requestBody", {}).get("content", {}).values():
                match media_type["schema"]:
                    case {"anyOf": [{"$ref": reference}, {"type": "null"}]}:
                        media_type["schema"] = {"$ref": reference}


def _restore_examples(schemas: dict[str, Any]) -> None:
    """Put the examples in whole: the framework drops the members that are null."""
    pending: list[type[BaseModel]] = [WireIn, WireOut]
    while pending:
        model = pending.pop()
        pending.extend(model.__subclasses__())
        extra = model.model_config.get("json_schema_extra")
        if isinstance(extra, dict) and "examples" in schemas.get(model.__name__, {}):
            schemas[model.__name__]["examples"] = extra["examples"]


def _give_pages_examples(schemas: dict[str, Any]) -> None:
    for name, schema in schemas.items():
        if not name.startswith(PAGE_PREFIX):
            continue
        item = schema["properties"]["items"]["items"]["$ref"].rsplit("/", 1)[1]
        examples = schemas[item].get("examples")
        if examples:
            schema["examples"] = [{"items": examples, "nextCursor": None}]
