"""Health on the wire: alerts that fire, and a vault's policy."""

import uuid
from typing import Annotated, Any

from pydantic import Field

from app.core.wire import EXAMPLE_TIME, Moment, WireIn, WireOut, with_example
from app.health.rules import Unit
from app.vocabulary import AlertCode, Severity

EXAMPLE_HEALTH_ERROR: dict[str, Any] = {
    "code": "cpu-utilisation",
    "severity": "Warning",
    "since": EXAMPLE_TIME,
    "value": 87.5,
    "threshold": 80,
    "possibleCauses": ["the server carries more source machines, or more churn, than its size is made for"],
    "recommendedAction": "don't add source machines to it, compare its load with its limits",
    "muted": False,
}
_EXAMPLE_RULE = {
    "code": "cpu-utilisation",
    "unit": "percent",
    "isEnabled": True,
    "windowSeconds": 900,
    "warningThreshold": 85,
    "criticalThreshold": 95,
    "hysteresis": 5,
    "overrides": ["warningThreshold"],
}


class HealthErrorView(WireOut):
    """An alert that is firing."""

    model_config = with_example(EXAMPLE_HEALTH_ERROR)

    code: str
    severity: Severity
    since: Moment | None = Field(description="When the condition began.")
    value: float | None = Field(description="The present value where it is known, else the one when it was raised.")
    threshold: float | None
    possible_causes: list[str]
    recommended_action: str
    muted: bool = Field(description="The process server is in maintenance.")


Threshold = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class RuleUpdate(WireIn):
    """What is to change of a rule: members left out stay, null takes one back to its default."""

    model_config = with_example({"warningThreshold": 85, "criticalThreshold": None, "windowSeconds": 600})

    is_enabled: Annotated[bool, Field(strict=True)] | None = None
    window_seconds: Threshold | None = None
    warning_threshold: Threshold | None = None
    critical_threshold: Threshold | None = None
    hysteresis: Threshold | None = Field(
        default=None, description="How far behind the Warning or Critical threshold the value must be for it to end."
    )


class HealthPolicyUpdate(WireIn):
    """What is to change of a vault's health policy: members left out stay, null goes back to the default."""

    model_config = with_example(
        {
            "windowSeconds": 600,
            "rules": {"cpu-utilisation": {"warningThreshold": 85}, "clock-skew": {"isEnabled": False}},
        }
    )

    window_seconds: Threshold | None = Field(
        default=None, description="How long a condition must hold, where its rule does not say otherwise."
    )
    rules: dict[AlertCode, RuleUpdate | None] = Field(default={}, description="By code.")


class RuleView(WireOut):
    """A rule as it holds in the vault. Thresholds of `percentFree` and `days` count down, the others up."""

    model_config = with_example(_EXAMPLE_RULE)

    code: AlertCode
    unit: Unit
    is_enabled: bool
    window_seconds: float | None = Field(description="Null where the rule needs no window.")
    warning_threshold: float | None
    critical_threshold: float | None
    hysteresis: float | None
    overrides: list[str] = Field(description="The members that the vault has changed.")


class HealthPolicyView(WireOut):
    """When a vault's servers have alerts."""

    model_config = with_example(
        {"vault": "contoso-dr", "windowSeconds": 900, "rules": [_EXAMPLE_RULE], "updatedAt": EXAMPLE_TIME}
    )

    vault: str
    window_seconds: float
    rules: list[RuleView]
    updated_at: Moment | None = Field(description="Null while nothing was ever changed.")
    id: uuid.UUID = Field(exclude=True)
    revision: int = Field(exclude=True)
