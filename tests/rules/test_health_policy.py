"""Policies: what may be changed of which rule, and what makes no sense."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.health.policy import Policy, changed, overrides_of, problems_of, to_json
from app.health.rules import RULES, Override, levels_of
from app.vocabulary import AlertCode

CODES = [code for code, rule in RULES.items() if rule.adjustable]
numbers = st.one_of(st.none(), st.floats(-10, 200), st.sampled_from([0.0, 25.0, 30.0, 80.0, 95.0, 100.0]))
overrides = st.builds(
    Override,
    is_enabled=st.sampled_from([None, True, False]),
    window_seconds=st.one_of(st.none(), st.floats(-1, 100_000)),
    warning=numbers,
    critical=numbers,
    hysteresis=numbers,
)


def problems(code: AlertCode, override: Override) -> list[str]:
    """The members that are wrong."""
    found = problems_of(Policy(None, {code: override}), 900)
    assert all(problem.code is code for problem in found)
    assert all(problem.detail for problem in found)
    return [problem.member for problem in found]


@pytest.mark.parametrize("code", AlertCode)
def test_the_defaults_make_sense(code: AlertCode) -> None:
    rule = RULES[code]
    same = Override(
        warning=rule.warning if "warning" in rule.adjustable else None,
        critical=rule.critical if "critical" in rule.adjustable else None,
        hysteresis=rule.hysteresis if "hysteresis" in rule.adjustable else None,
    )
    assert problems(code, same) == []


def test_what_a_rule_does_not_have_can_not_be_changed() -> None:
    assert problems(AlertCode.CLOCK_SKEW, Override(critical=400)) == ["criticalThreshold"]
    assert problems(AlertCode.SERVICES_STOPPED, Override(warning=1, hysteresis=1)) == ["warningThreshold", "hysteresis"]
    assert problems(AlertCode.CERTIFICATE_EXPIRING, Override(window_seconds=5)) == ["windowSeconds"]
    for code in (AlertCode.HEARTBEAT_MISSING, AlertCode.VERSION_ABOVE_CONFIGURATION_SERVER):
        assert problems(code, Override(is_enabled=False)) == ["isEnabled"]


@pytest.mark.parametrize(
    ("code", "override", "members"),
    [
        (AlertCode.CPU_UTILISATION, Override(warning=95), ["warningThreshold"]),
        (AlertCode.CPU_UTILISATION, Override(warning=94.9), []),
        (AlertCode.CPU_UTILISATION, Override(warning=96, critical=97), []),
        (AlertCode.CACHE_FREE_SPACE, Override(warning=25), ["warningThreshold"]),
        (AlertCode.CACHE_FREE_SPACE, Override(critical=30), ["warningThreshold"]),
        (AlertCode.CACHE_FREE_SPACE, Override(warning=25.1), []),
        (AlertCode.CACHE_FREE_SPACE, Override(hysteresis=70), []),
        (AlertCode.CACHE_FREE_SPACE, Override(hysteresis=70.1), ["hysteresis"]),
        (AlertCode.CPU_UTILISATION, Override(hysteresis=80), []),
        (AlertCode.CPU_UTILISATION, Override(hysteresis=80.1), ["hysteresis"]),
        (AlertCode.CPU_UTILISATION, Override(critical=100), ["criticalThreshold"]),
        (AlertCode.PENDING_UPLOAD, Override(critical=100), []),
        (AlertCode.PENDING_UPLOAD, Override(critical=10_080), ["criticalThreshold"]),
        (AlertCode.CERTIFICATE_EXPIRING, Override(warning=1_095), ["warningThreshold"]),
        (AlertCode.CPU_UTILISATION, Override(window_seconds=86_400), []),
        (AlertCode.CPU_UTILISATION, Override(window_seconds=86_400.1), ["windowSeconds"]),
        (AlertCode.CPU_UTILISATION, Override(window_seconds=0), ["windowSeconds"]),
    ],
)
def test_edges(code: AlertCode, override: Override, members: list[str]) -> None:
    assert problems(code, override) == members


@given(code=st.sampled_from(CODES), override=overrides)
def test_whatever_is_taken_gives_levels_that_work(code: AlertCode, override: Override) -> None:
    policy = Policy(None, {code: override})
    if problems_of(policy, 900):
        return
    levels = levels_of(policy.applied(900).values(), ("tmansvc",))
    for level in levels:
        assert 0 <= level.clear <= level.threshold
        assert level.window.total_seconds() > 0
    mine = [level.threshold for level in levels if level.code is code]
    assert mine == sorted(set(mine)), "Warning before Critical"
    assert bool(mine) == (override.is_enabled is not False and RULES[code].is_windowed)


@given(st.dictionaries(st.sampled_from(CODES), overrides))
def test_the_database_keeps_what_differs(found: dict[AlertCode, Override]) -> None:
    expected = {code: override for code, override in found.items() if override != Override()}
    assert overrides_of(to_json(found)) == expected


def test_a_code_of_a_newer_version_is_left_alone() -> None:
    assert overrides_of({"telepathy": {"isEnabled": False}}) == {}


def test_changes_are_merged_and_none_takes_back() -> None:
    code = AlertCode.CPU_UTILISATION
    first = changed({}, code, {"warning": 85.0, "is_enabled": False})
    assert first == Override(is_enabled=False, warning=85.0)
    assert changed({code: first}, code, {"is_enabled": None}) == Override(warning=85.0)
