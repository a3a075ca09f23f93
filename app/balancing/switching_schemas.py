"""Load balance and switch on the wire."""

from typing import Annotated

from pydantic import Field

from app.core.wire import LongText, Text, WireIn, with_example

MAX_MACHINES = 1_000
"""So many machines may be named in one request."""

_Target = Annotated[Text, Field(min_length=1, description="Name or id of the process server that takes them.")]
_Reason = Annotated[LongText, Field(description="Kept in the events.")]
_AllowOverCapacity = Annotated[
    bool, Field(strict=True, description="Go beyond the target's limits; job and events record it.")
]


class SwitchRequest(WireIn):
    """Move the entire workload of a process server to another one of the same configuration server."""

    model_config = with_example({"target": "ps-ams-02", "reason": "ps-ams-01 burnt down"})

    target: _Target
    allow_over_capacity: _AllowOverCapacity = False
    reason: _Reason | None = None


class LoadBalanceRequest(SwitchRequest):
    """Move chosen source machines of a process server to another one of the same configuration server."""

    model_config = with_example({"target": "ps-ams-02", "machines": ["sql-ams-01", "web-ams-07"]})

    machines: Annotated[
        list[Annotated[Text, Field(min_length=1)]],
        Field(min_length=1, max_length=MAX_MACHINES, description="Names or ids; the same one twice counts once."),
    ]
