"""How an operation declares its errors, so that OpenAPI lists each with an example."""

from typing import Any

from app.core.errors import (
    DatabaseUnavailable,
    Forbidden,
    Internal,
    Invalid,
    MalformedJson,
    MusterError,
    TooLarge,
    Unauthenticated,
    UnsupportedMediaType,
)
from app.core.problems import MEDIA_TYPE

PROBLEM_SCHEMA = "#/components/schemas/Problem"
_ALWAYS: tuple[type[MusterError], ...] = (Internal, DatabaseUnavailable)
_WITH_TOKEN: tuple[type[MusterError], ...] = (Unauthenticated, Forbidden)
_WITH_BODY: tuple[type[MusterError], ...] = (MalformedJson, TooLarge, UnsupportedMediaType, Invalid)


def errors(*kinds: type[MusterError], body: bool = False, token: bool = True) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an operation: `kinds` and what every operation of its sort can answer."""
    chosen = (*kinds, *(_WITH_BODY if body else (Invalid,)), *(_WITH_TOKEN if token else ()), *_ALWAYS)
    by_status: dict[int | str, dict[str, Any]] = {}
    for kind in dict.fromkeys(chosen):
        # Not `model`: the framework would document the problem as application/json beside this.
        content = {MEDIA_TYPE: {"schema": {"$ref": PROBLEM_SCHEMA}, "examples": {}}}
        entry = by_status.setdefault(kind.status, {"description": "", "content": content})
        entry["description"] = "; ".join(filter(None, [entry["description"], f"`{kind.code}`: {kind.title}"]))
        entry["content"][MEDIA_TYPE]["examples"][kind.code] = {
            "summary": kind.title,
            "value": {
                "type": f"urn:muster:error:{kind.code}",
                "title": kind.title,
                "status": kind.status,
                "detail": "names the values involved and the remedy",
                "instance": "/api/v1/vaults",
                "code": kind.code,
                "requestId": "0192f0c1-7b1e-7cc3-98c4-dc0c0c07398f",
            },
        }
    return by_status
