"""Alerts on the wire."""

import uuid

from pydantic import Field

from app.core.wire import EXAMPLE_ID, EXAMPLE_TIME, Moment, WireOut, with_example
from app.health.rules import Unit
from app.health.schemas import EXAMPLE_HEALTH_ERROR, HealthErrorView
from app.vocabulary import AlertState, ResourceKind


class AlertResource(WireOut):
    """The server that an alert is about."""

    kind: ResourceKind
    name: str
    id: uuid.UUID


class AlertView(HealthErrorView):
    """An alert, firing or past. The value is the present one while it fires and is known."""

    model_config = with_example(
        {
            "id": EXAMPLE_ID,
            "resource": {"kind": "process-server", "name": "ps-ams-01", "id": EXAMPLE_ID},
            "configurationServer": "cs-ams-01",
            "state": "firing",
            "raisedAt": EXAMPLE_TIME,
            "clearedAt": None,
            "unit": "percent",
            "message": "CPU utilisation of process server ps-ams-01 is 87.5 %, above 80 %",
            **EXAMPLE_HEALTH_ERROR,
        }
    )

    id: uuid.UUID
    resource: AlertResource
    configuration_server: str | None = Field(description="Null once it was deleted.")
    state: AlertState
    raised_at: Moment
    cleared_at: Moment | None
    unit: Unit = Field(description="What value and threshold count.")
    message: str = Field(description="As it was when the alert was raised or changed its severity.")
