"""A vault's health policy: what it changes of the rules, and what of that makes sense. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from app.health.rules import (
    MAX_WINDOW_SECONDS,
    MIN_WINDOW_SECONDS,
    NO_OVERRIDE,
    RULES,
    Applied,
    Override,
    Rule,
    Unit,
    apply_all,
)
from app.vocabulary import AlertCode

WIRE_NAMES = {
    "is_enabled": "isEnabled",
    "window_seconds": "windowSeconds",
    "warning": "warningThreshold",
    "critical": "criticalThreshold",
    "hysteresis": "hysteresis",
}
"""The fields of an `Override` as operators and the database write them."""


class Policy(NamedTuple):
    """What a vault says of the rules; None and an empty mapping leave the defaults."""

    window_seconds: float | None
    overrides: Mapping[AlertCode, Override]

    def applied(self, default_window_seconds: float) -> dict[AlertCode, Applied]:
        """Every rule as it holds in the vault; the default window is the setting's."""
        own = self.window_seconds
        return apply_all(self.overrides, default_window_seconds if own is None else own)


NO_POLICY = Policy(None, {})


class Problem(NamedTuple):
    """What is wrong with a policy: the code and the member, and what would be right."""

    code: AlertCode
    member: str
    detail: str


def overrides_of(stored: Mapping[str, Mapping[str, Any]]) -> dict[AlertCode, Override]:
    """The overrides in the form the database keeps them. A code of a newer version is left out."""
    known = {code.value for code in AlertCode}
    return {
        AlertCode(code): Override(**{field: entry.get(name) for field, name in WIRE_NAMES.items()})
        for code, entry in stored.items()
        if code in known
    }


def to_json(overrides: Mapping[AlertCode, Override]) -> dict[str, dict[str, Any]]:
    """The form in which the database keeps overrides: only what differs from the defaults."""
    found = {code.value: named_members(override) for code, override in overrides.items()}
    return {code: members for code, members in found.items() if members}


def named_members(override: Override) -> dict[str, Any]:
    """What an override sets, by the names of the wire."""
    return {WIRE_NAMES[field]: value for field, value in override._asdict().items() if value is not None}


def changed(overrides: Mapping[AlertCode, Override], code: AlertCode, changes: Mapping[str, Any]) -> Override:
    """An override with some fields set anew; None takes one back to the default."""
    return overrides.get(code, NO_OVERRIDE)._replace(**changes)


def problems_of(policy: Policy, default_window_seconds: float) -> list[Problem]:
    """Everything that makes no sense about a policy; empty when it may hold."""
    found: list[Problem] = []
    for code, override in policy.overrides.items():
        refused = [field for field, value in override._asdict().items() if value is not None]
        refused = [field for field in refused if field not in RULES[code].adjustable]
        found.extend(Problem(code, WIRE_NAMES[field], _not_adjustable(RULES[code])) for field in refused)
        if not refused:
            found.extend(_problems_of_rule(policy.applied(default_window_seconds)[code], override))
    return found


def is_window(seconds: float) -> bool:
    """Whether a condition can be asked to hold for so long."""
    return MIN_WINDOW_SECONDS <= seconds <= MAX_WINDOW_SECONDS


def not_a_window(seconds: float) -> str:
    """What is wrong with a window, and what would be right."""
    return f"{seconds:g} s is out of range; use {MIN_WINDOW_SECONDS} to {MAX_WINDOW_SECONDS}"


def _not_adjustable(rule: Rule) -> str:
    offered = ", ".join(WIRE_NAMES[field] for field in WIRE_NAMES if field in rule.adjustable)
    return f"{rule.code} takes {offered}" if offered else f"{rule.code} can't be changed"


def _problems_of_rule(entry: Applied, override: Override) -> list[Problem]:
    rule = entry.rule
    code = rule.code
    found: list[Problem] = []
    if override.window_seconds is not None and not is_window(override.window_seconds):
        found.append(Problem(code, "windowSeconds", not_a_window(override.window_seconds)))
    for field, value in (("warning", override.warning), ("critical", override.critical)):
        if value is not None and not 0 < value < rule.highest:
            detail = f"{value:g} is out of range; use more than 0 and less than {rule.highest:g}"
            found.append(Problem(code, WIRE_NAMES[field], detail))
    if found:
        return found
    return [*_levels_in_order(entry), *_within_reach(entry)]


def _levels_in_order(entry: Applied) -> list[Problem]:
    """Critical is worse than Warning."""
    if entry.warning is None or entry.critical is None:
        return []
    is_right = entry.warning > entry.critical if entry.rule.counts_down else entry.warning < entry.critical
    if is_right:
        return []
    wanted = "above" if entry.rule.counts_down else "below"
    detail = f"the Warning threshold {entry.warning:g} must be {wanted} the Critical threshold {entry.critical:g}"
    return [Problem(entry.rule.code, "warningThreshold", detail)]


def _within_reach(entry: Applied) -> list[Problem]:
    """Some reading must end the alert."""
    if entry.hysteresis is None or entry.warning is None:
        return []
    room = 100.0 - entry.warning if entry.rule.unit is Unit.PERCENT_FREE else entry.warning
    if 0 <= entry.hysteresis <= room:
        return []
    detail = f"{entry.hysteresis:g} is out of range; with the Warning threshold {entry.warning:g} use 0 to {room:g}"
    return [Problem(entry.rule.code, "hysteresis", detail)]
