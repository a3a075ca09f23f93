"""The filters that lists of servers share."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from app.vocabulary import ConnectionState, Health, ServerKind, VersionStatus

EMPTY = "No server matches."


def _only(words: type[StrEnum]) -> str:
    return f"Only those: {', '.join(words)}."


ConnectionStateOption = Annotated[
    ConnectionState | None,
    typer.Option("--connection-state", case_sensitive=False, metavar="STATE", help=_only(ConnectionState)),
]
HealthOption = Annotated[
    Health | None, typer.Option("--health", case_sensitive=False, metavar="HEALTH", help=_only(Health))
]
VersionStatusOption = Annotated[
    VersionStatus | None,
    typer.Option("--version-status", case_sensitive=False, metavar="STATUS", help=_only(VersionStatus)),
]
KindOption = Annotated[
    ServerKind | None, typer.Option("--kind", case_sensitive=False, metavar="KIND", help=_only(ServerKind))
]
TextOption = Annotated[
    str | None,
    typer.Option("--q", "-q", metavar="TEXT", help="Only those with this text in a name or address."),
]
OrderOption = Annotated[
    str | None,
    typer.Option("--order-by", metavar="MEMBER", help="name or createdAt; a minus before it reverses."),
]


def query(
    connection_state: ConnectionState | None,
    health: Health | None,
    version_status: VersionStatus | None,
    *,
    q: str | None,
    order_by: str | None,
) -> dict[str, Any]:
    """The API's query for the filters given; None is no filter."""
    return {
        "connectionState": connection_state and connection_state.value,
        "health": health and health.value,
        "versionStatus": version_status and version_status.value,
        "q": q,
        "orderBy": order_by,
    }
