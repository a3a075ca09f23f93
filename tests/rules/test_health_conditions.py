"""When a condition fires and when it ends: exactly, at any interval, across what is missing.

`Watch` does to conditions what the control plane does: it hears heartbeats and sweeps now and then, keeping nothing but
the conditions and the last heartbeat. A model that looks through the whole history says the same.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.health.conditions import (
    UNBOUNDED,
    Condition,
    Level,
    due_at,
    firing,
    from_json,
    hear,
    judge,
    quiet_ranges,
    ripen,
    to_json,
)
from app.health.readings import NEVER, STOPPED, UNKNOWN, Reading, Readings, service_values
from app.health.rules import REQUIRED_SERVICES, RULES, Override, apply_all, levels_of
from app.vocabulary import AlertCode, ServerKind, Severity

START = datetime(2026, 1, 1, tzinfo=UTC)
TIMEOUT = timedelta(seconds=900)
GRACE = TIMEOUT / 5
SERVICES = REQUIRED_SERVICES[ServerKind.SCALE_OUT]
LEVELS = levels_of(apply_all({}, 900).values(), SERVICES)
FINE = Readings(cpu=10.0, memory=10.0, space=10.0, upload=0.0, skew=0.0)
CPU = [level for level in LEVELS if level.code is AlertCode.CPU_UTILISATION]


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


class Watch:
    """One server's conditions, as a control plane without a memory keeps them."""

    def __init__(self, levels: tuple[Level, ...] = LEVELS) -> None:
        self.levels = levels
        self.stored: dict[str, object] = {}
        self.heard: datetime | None = None

    def beat(self, second: float, **readings: Any) -> None:
        """A heartbeat; `services` is one of the readings."""
        services = readings.pop("services", None)
        values = FINE._replace(**readings).values() | service_values(services, SERVICES)
        _, settled = hear(
            from_json(self.stored), self.levels, values, at(second), heard_before=self.heard, timeout=TIMEOUT
        )
        self.stored, self.heard = to_json(settled), at(second)

    def sweep(self, second: float) -> dict[str, str]:
        """A look; what fires then, by code."""
        assert self.heard is not None
        self.stored = to_json(ripen(from_json(self.stored), self.levels, at(second), self.heard, GRACE))
        return self.firing

    @property
    def firing(self) -> dict[str, str]:
        """The severity of what fires, by code."""
        found = firing(from_json(self.stored), self.levels)
        return {code.value: entry.severity.value for code, entry in found.items()}


HELD: list[tuple[str, str, dict[str, float]]] = [
    ("cpu-utilisation", "Warning", {"cpu": 80.001}),
    ("cpu-utilisation", "Critical", {"cpu": 95.001}),
    ("memory-usage", "Warning", {"memory": 80.001}),
    ("memory-usage", "Critical", {"memory": 95.001}),
    ("cache-free-space", "Warning", {"space": 70.001}),
    ("cache-free-space", "Critical", {"space": 75.001}),
    ("replication-throttled", "Warning", {"space": 80.001}),
    ("pending-upload", "Warning", {"upload": 30.001}),
    ("pending-upload", "Critical", {"upload": NEVER}),
    ("clock-skew", "Warning", {"skew": 300.001}),
]


@pytest.mark.parametrize("interval", [10, 30, 180, 450])
@pytest.mark.parametrize(("code", "severity", "held"), HELD)
def test_it_fires_at_15_00_and_not_at_14_59(code: str, severity: str, held: dict[str, float], interval: int) -> None:
    watch = Watch()
    watch.beat(-interval)
    for second in range(0, 900, interval):
        watch.beat(second, **held)
        assert code not in watch.sweep(second)
    assert code not in watch.sweep(899)
    assert code not in watch.sweep(899.999)
    if interval > 180:
        assert code not in watch.sweep(900), "the last heartbeat is too old to say so"
        watch.beat(900, **held)
    assert watch.sweep(900)[code] == severity


@pytest.mark.parametrize(("code", "severity", "held"), HELD)
def test_at_the_threshold_nothing_holds(code: str, severity: str, held: dict[str, float]) -> None:
    watch = Watch()
    edge = dict.fromkeys(held, RULES_EDGE[code, severity])
    for second in range(0, 3600, 30):
        watch.beat(second, **edge)
        found = watch.sweep(second)
        assert found.get(code) != severity


RULES_EDGE = {(level.code.value, level.severity.value): level.threshold for level in LEVELS}


def test_a_heartbeat_at_the_very_moment_fires_without_a_sweep() -> None:
    watch = Watch()
    for second in range(0, 901, 30):
        watch.beat(second, cpu=90.0)
    assert watch.firing == {"cpu-utilisation": "Warning"}


def test_irregular_heartbeats() -> None:
    watch = Watch()
    for second in (0, 7, 180, 181, 350, 529, 700, 880):
        watch.beat(second, cpu=90.0)
    assert watch.sweep(899) == {}
    assert watch.sweep(900) == {"cpu-utilisation": "Warning"}


@pytest.mark.parametrize("dip", [30, 450, 870, 899])
def test_a_dip_before_it_fires_begins_anew(dip: int) -> None:
    watch = Watch()
    for second in range(0, dip, 30):
        watch.beat(second, cpu=90.0)
    watch.beat(dip, cpu=80.0)
    assert watch.sweep(900) == {}
    began = dip + 30
    for second in range(began, began + 899, 30):
        watch.beat(second, cpu=90.0)
        assert watch.sweep(second) == {}
    assert watch.sweep(began + 899) == {}
    assert watch.sweep(began + 900) == {"cpu-utilisation": "Warning"}


def test_a_missed_heartbeat_breaks_nothing() -> None:
    watch = Watch()
    for second in (0, 30, 60, 600, 630, 870):
        watch.beat(second, cpu=90.0)
    assert watch.sweep(900) == {"cpu-utilisation": "Warning"}


def test_an_outage_of_the_control_plane_below_the_timeout_breaks_nothing() -> None:
    """Evidence before and after: it fires with the first look or heartbeat that comes after the window."""
    watch = Watch()
    watch.beat(0, cpu=90.0)
    watch.beat(200, cpu=90.0)
    assert watch.sweep(1000) == {}, "nothing was heard since, so nothing is claimed"
    watch.beat(1100, cpu=90.0)
    assert watch.firing == {"cpu-utilisation": "Warning"}


def test_a_gap_of_more_than_the_timeout_begins_anew() -> None:
    watch = Watch()
    watch.beat(0, cpu=90.0)
    watch.beat(900, cpu=90.0)
    assert watch.firing == {"cpu-utilisation": "Warning"}, "exactly the timeout is unbroken"
    watch = Watch()
    watch.beat(0, cpu=90.0)
    watch.beat(901, cpu=90.0)
    assert watch.sweep(901) == {}
    watch.beat(1500, cpu=90.0)
    assert watch.sweep(1800) == {}
    watch.beat(1801, cpu=90.0)
    assert watch.sweep(1801) == {"cpu-utilisation": "Warning"}


def test_a_beginning_in_the_future_begins_anew() -> None:
    """The clock was set back since."""
    watch = Watch()
    watch.beat(86_400, cpu=90.0)
    watch.heard = at(100)
    watch.beat(100, cpu=90.0)
    watch.beat(990, cpu=90.0)
    assert watch.sweep(999) == {}
    assert watch.sweep(1000) == {"cpu-utilisation": "Warning"}


def test_what_fires_outlives_a_gap() -> None:
    watch = fired(90.0)
    watch.beat(5000, cpu=90.0)
    assert watch.firing == {"cpu-utilisation": "Warning"}
    watch.beat(5030, cpu=75.0)
    assert watch.firing == {}


def fired(cpu: float) -> Watch:
    """A server whose CPU alert fires."""
    watch = Watch()
    for second in range(0, 930, 30):
        watch.beat(second, cpu=cpu)
    assert watch.firing
    return watch


def test_it_ends_at_the_clear_level_and_not_above() -> None:
    watch = fired(90.0)
    for second, cpu in ((930, 80.0), (960, 75.001)):
        watch.beat(second, cpu=cpu)
        assert watch.firing == {"cpu-utilisation": "Warning"}
    watch.beat(990, cpu=75.0)
    assert watch.firing == {}


def test_critical_becomes_warning_and_ends() -> None:
    watch = fired(99.0)
    assert watch.firing == {"cpu-utilisation": "Critical"}
    watch.beat(930, cpu=90.0)
    assert watch.firing == {"cpu-utilisation": "Warning"}
    watch.beat(960, cpu=99.0)
    assert watch.firing == {"cpu-utilisation": "Warning"}, "Critical has to hold anew"
    assert watch.sweep(960 + 899) == {"cpu-utilisation": "Warning"}
    for second in range(990, 960 + 901, 30):
        watch.beat(second, cpu=99.0)
    assert watch.firing == {"cpu-utilisation": "Critical"}


def test_a_value_that_dances_on_the_threshold_never_fires_and_once_firing_never_flaps() -> None:
    watch = Watch()
    for second in range(0, 7200, 30):
        watch.beat(second, cpu=80.0 if second % 60 else 80.5)
        assert watch.sweep(second) == {}
    watch = fired(80.5)
    for second in range(930, 7200, 30):
        watch.beat(second, cpu=79.5 if second % 60 else 80.5)
        assert watch.sweep(second) == {"cpu-utilisation": "Warning"}


def test_an_unknown_reading_ends_what_is_pending_and_leaves_what_fires() -> None:
    watch = Watch()
    watch.beat(0, cpu=90.0)
    watch.beat(450, cpu=UNKNOWN)
    for second in range(480, 930, 30):
        watch.beat(second, cpu=90.0)
    assert watch.sweep(901) == {}
    watch = fired(90.0)
    watch.beat(930, cpu=UNKNOWN)
    assert watch.firing == {"cpu-utilisation": "Warning"}
    watch.beat(960, cpu=10.0)
    assert watch.firing == {}


def test_what_had_matured_unseen_has_fired_before_it_ends() -> None:
    """No sweep looked between the heartbeat that proves it and the one that ends it."""
    conditions = judge({}, LEVELS, FINE._replace(cpu=90.0).values() | service_values(None, SERVICES), at(0),
                       is_unbroken=False)  # fmt: skip
    values = FINE.values() | service_values(None, SERVICES)
    matured, settled = hear(conditions, LEVELS, values, at(930), heard_before=at(901), timeout=TIMEOUT)
    assert list(firing(matured, LEVELS)) == [AlertCode.CPU_UTILISATION]
    assert firing(settled, LEVELS) == {}
    matured, settled = hear(conditions, LEVELS, values, at(930), heard_before=at(899), timeout=TIMEOUT)
    assert firing(matured, LEVELS) == {}


def test_since_is_the_first_heartbeat_of_the_mildest_level() -> None:
    watch = Watch()
    for second in range(0, 300, 30):
        watch.beat(second, cpu=85.0)
    for second in range(300, 1230, 30):
        watch.beat(second, cpu=99.0)
    (found,) = firing(from_json(watch.stored), LEVELS).values()
    assert (found.severity, found.since) == (Severity.CRITICAL, at(0))


def test_each_stopped_service_is_held_on_its_own() -> None:
    running = dict.fromkeys(SERVICES, "Running")
    watch = Watch()
    for second in range(0, 1800, 30):
        stopped = "tmansvc" if second < 600 else "obengine"
        watch.beat(second, services={**running, stopped: "Stopped"})
        fires = watch.sweep(second)
        assert bool(fires) == (second >= 1500), "no service was stopped for 15 minutes before"
    (found,) = firing(from_json(watch.stored), LEVELS).values()
    assert (found.severity, found.sources) == (Severity.WARNING, ("service:obengine",))
    watch.beat(1800, services=running)
    assert watch.firing == {}


def test_services_that_are_not_named_are_unknown_and_any_state_but_running_is_stopped() -> None:
    values = service_values({"TMANSVC": "stopped", "obengine": "StartPending", "svagents": "Unknown"}, SERVICES)
    assert {name for name, value in values.items() if value == STOPPED} == {"service:tmansvc", "service:obengine"}
    assert {value for name, value in values.items() if name not in {"service:tmansvc", "service:obengine"}} == {UNKNOWN}
    assert set(service_values(None, SERVICES).values()) == {UNKNOWN}
    watch = Watch()
    for second in range(0, 1800, 30):
        watch.beat(second, services={"nginx": "Stopped"})
    assert watch.firing == {}, "an agent on another system that watches units of its own"


def test_a_disabled_rule_drops_what_it_held() -> None:
    watch = fired(90.0)
    watch.levels = levels_of(apply_all({AlertCode.CPU_UTILISATION: Override(is_enabled=False)}, 900).values(), SERVICES)
    watch.beat(930, cpu=90.0)
    assert watch.stored == {}


def test_a_shorter_window_counts_what_was_held_already() -> None:
    watch = Watch()
    watch.beat(0, cpu=90.0)
    watch.levels = levels_of(apply_all({}, 300).values(), SERVICES)
    watch.beat(299, cpu=90.0)
    assert watch.firing == {}
    watch.beat(300, cpu=90.0)
    assert watch.firing == {"cpu-utilisation": "Warning"}


def test_the_due_time_is_that_of_the_first_pending_level() -> None:
    watch = Watch()
    watch.beat(0)
    assert due_at(from_json(watch.stored), LEVELS) is None
    watch.beat(30, memory=90.0)
    watch.beat(60, memory=90.0, cpu=99.0)
    assert due_at(from_json(watch.stored), LEVELS) == at(930)
    watch.beat(900, memory=90.0, cpu=99.0)
    watch.sweep(930)
    assert due_at(from_json(watch.stored), LEVELS) == at(960)
    watch.sweep(960)
    assert due_at(from_json(watch.stored), LEVELS) is None


# --- against a model with the whole history ---------------------------------------------------------------------


class Event(NamedTuple):
    """Of the history: a heartbeat with its CPU reading, or a look."""

    at: int
    is_look: bool
    value: float = UNKNOWN


cpu_values = st.one_of(
    st.sampled_from([UNKNOWN, 74.9, 75.0, 75.1, 80.0, 80.1, 90.0, 90.1, 95.0, 95.1, 100.0]), st.floats(0, 100)
)
high_values = st.sampled_from([79.0, 81.0, 94.0, 96.0])
histories = st.lists(st.tuples(st.integers(1, 400), st.one_of(high_values, cpu_values)), min_size=1, max_size=30)
looks = st.lists(st.integers(0, 6_000), max_size=30)


def story(steps: list[tuple[int, float]], moments: list[int]) -> list[Event]:
    """The history: heartbeats from the pauses between them, and looks after the first of them."""
    beats: list[Event] = []
    moment = 0
    for pause, value in steps:
        moment += pause
        beats.append(Event(moment, is_look=False, value=value))
    return sorted([*beats, *(Event(look, is_look=True) for look in set(moments) if look >= beats[0].at)])


def is_ripe(level: Level, history: list[Event]) -> bool:
    """Whether the heartbeats before the end of `history` say that `level` has held for its window."""
    end, beats = history[-1], [event for event in history if not event.is_look]
    run: list[Event] = []
    for beat in reversed(beats):
        if beat.value <= level.threshold or (run and run[-1].at - beat.at > 900):
            break
        run.append(beat)
    if not run:
        return False
    due = run[-1].at + 900
    return due <= end.at and run[0].at >= due - (180 if end.is_look else 0)


def model_fires(level: Level, history: list[Event]) -> bool:
    """It was ripe once, and no heartbeat since was known to be at or below the clear level."""
    return any(
        is_ripe(level, history[: end + 1])
        and not any(not event.is_look and UNKNOWN < event.value <= level.clear for event in history[end + 1 :])
        for end in range(len(history))
    )


@given(steps=histories, moments=looks)
def test_since_is_all_that_has_to_be_remembered(steps: list[tuple[int, float]], moments: list[int]) -> None:
    history = story(steps, moments)
    watches = {level.key: Watch((level,)) for level in CPU}
    for position, event in enumerate(history):
        for level in CPU:
            watch = watches[level.key]
            if event.is_look:
                watch.sweep(event.at)
            else:
                watch.beat(event.at, cpu=event.value)
            assert bool(watch.firing) == model_fires(level, history[: position + 1]), (level, history[: position + 1])


@given(steps=histories, moments=looks)
def test_heartbeats_in_the_quiet_ranges_need_not_be_judged(steps: list[tuple[int, float]], moments: list[int]) -> None:
    """As the hot path does it: such a heartbeat is only heard. A look that follows finds the same as the model."""
    watch = Watch(tuple(CPU))
    ranges = (UNKNOWN, UNKNOWN)
    history = story(steps, moments)
    for position, event in enumerate(history):
        if event.is_look:
            severities = {level.severity for level in CPU if model_fires(level, history[: position + 1])}
            found = watch.sweep(event.at)
            assert set(found.values()) == ({max(severities, key=list(Severity).index).value} if severities else set())
            continue
        heard = watch.heard
        is_close = heard is not None and at(event.at) - heard <= TIMEOUT
        if is_close and ranges[0] < event.value <= ranges[1]:
            watch.heard = at(event.at)
            continue
        watch.beat(event.at, cpu=event.value)
        readings = FINE._replace(cpu=event.value)
        ranges = quiet_ranges(from_json(watch.stored), watch.levels, readings)[Reading.CPU]


# --- the promise that the hot path relies on ----------------------------------------------------------------------

percentages = st.one_of(st.sampled_from([UNKNOWN, 0.0, 65.0, 70.0, 75.0, 80.0, 90.0, 95.0, 100.0]), st.floats(0, 100))
minutes = st.one_of(st.sampled_from([UNKNOWN, 0.0, 25.0, 30.0, 40.0, 45.0, NEVER]), st.floats(0, 1e12))
skews = st.one_of(st.sampled_from([UNKNOWN, 0.0, 240.0, 300.0]), st.floats(0, 1e9))
readings = st.builds(Readings, cpu=percentages, memory=percentages, space=percentages, upload=minutes, skew=skews)
states = st.dictionaries(
    st.sampled_from([level.key for level in LEVELS]),
    st.builds(Condition, since=st.integers(-5000, 0).map(at), value=st.floats(0, 1e9), is_firing=st.booleans()),
)
service_states = st.dictionaries(st.sampled_from(SERVICES), st.sampled_from(["Running", "Stopped", "Unknown"]))


@given(before=states, first=readings, second=readings, services=service_states, unbroken=st.booleans())
def test_inside_the_quiet_ranges_nothing_changes(
    before: dict[str, Condition],
    first: Readings,
    second: Readings,
    services: dict[str, str],
    unbroken: bool,
) -> None:
    told = service_values(services, SERVICES)
    after = judge(before, LEVELS, first.values() | told, at(0), is_unbroken=unbroken)
    ranges = quiet_ranges(after, LEVELS, first)
    inside = {
        reading: value if ranges[reading][0] < value <= ranges[reading][1] else getattr(first, reading)
        for reading, value in ((Reading(name), value) for name, value in second.values().items())
    }
    for reading, value in first.values().items():
        low, high = ranges[Reading(reading)]
        assert low < value <= high, "the reading that was judged is in its own range"
    later = judge(after, LEVELS, {**{name.value: value for name, value in inside.items()}, **told}, at(30),
                  is_unbroken=True)  # fmt: skip
    assert later == after


@given(before=states, first=readings, second=readings, services=service_states)
def test_outside_of_them_something_does(
    before: dict[str, Condition], first: Readings, second: Readings, services: dict[str, str]
) -> None:
    """The ranges are as wide as they can be: a reading that becomes unknown, or known, apart."""
    told = service_values(services, SERVICES)
    after = judge(before, LEVELS, first.values() | told, at(0), is_unbroken=True)
    ranges = quiet_ranges(after, LEVELS, first)
    for reading in Reading:
        value = getattr(second, reading)
        low, high = ranges[reading]
        if low < value <= high or UNKNOWN in {value, getattr(first, reading)}:
            continue
        values_ = {**first.values(), reading.value: value}
        assert judge(after, LEVELS, values_ | told, at(30), is_unbroken=True) != after


def test_ranges_are_finite() -> None:
    found = quiet_ranges({}, LEVELS, FINE)
    assert found[Reading.CPU] == (UNKNOWN, 80.0)
    assert found[Reading.SPACE] == (UNKNOWN, 70.0)
    assert quiet_ranges({}, (), FINE)[Reading.CPU] == (UNKNOWN, UNBOUNDED)
    assert quiet_ranges({}, LEVELS, FINE._replace(cpu=UNKNOWN))[Reading.CPU] == (-UNBOUNDED, UNKNOWN)


@given(states)
def test_a_row_keeps_conditions_to_the_microsecond(conditions: dict[str, Condition]) -> None:
    assert from_json(to_json(conditions)) == conditions


def test_no_rule_is_left_out() -> None:
    judged = {level.code for level in LEVELS}
    assert judged == {code for code, rule in RULES.items() if rule.is_windowed}
