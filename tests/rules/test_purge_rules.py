"""When a process server may be purged."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lifecycle.rules import (
    FORCEABLE,
    INBUILT_CHURN_BYTES,
    INBUILT_MACHINES,
    BlockerCode,
    Facts,
    blockers_of,
    left_after_force,
)
from app.vocabulary import ServerKind

FREE = Facts(
    name="ps-1",
    kind=ServerKind.SCALE_OUT,
    is_connected=False,
    machines=0,
    has_target=False,
    open_jobs=0,
    other_servers=1,
    site_machines=0,
    site_churn_bytes=0,
)


def codes(facts: Facts) -> list[str]:
    return [blocker.code.value for blocker in blockers_of(facts)]


def test_a_silent_server_without_machines_is_free_to_go() -> None:
    assert codes(FREE) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"is_connected": True}, ["connected"]),
        ({"machines": 12}, ["machines-assigned"]),
        ({"machines": 12, "has_target": True}, []),
        ({"open_jobs": 1}, ["job-running"]),
        ({"kind": ServerKind.INBUILT}, ["inbuilt"]),
        ({"other_servers": 0, "site_machines": INBUILT_MACHINES}, []),
        ({"other_servers": 0, "site_machines": INBUILT_MACHINES + 1}, ["last-process-server"]),
        ({"other_servers": 1, "site_machines": INBUILT_MACHINES + 1}, []),
        ({"other_servers": 0, "site_churn_bytes": INBUILT_CHURN_BYTES}, []),
        ({"other_servers": 0, "site_churn_bytes": INBUILT_CHURN_BYTES + 1}, ["last-process-server"]),
        ({"is_connected": True, "machines": 1, "open_jobs": 2}, ["connected", "machines-assigned", "job-running"]),
    ],
)
def test_each_blocker_alone_and_together(changes: dict[str, Any], expected: list[str]) -> None:
    assert codes(FREE._replace(**changes)) == expected


def test_what_is_counted_is_told() -> None:
    (blocker,) = blockers_of(FREE._replace(machines=12))
    assert blocker.counted == 12
    assert "12" in blocker.detail


@given(st.sets(st.sampled_from(BlockerCode)))
def test_force_skips_what_it_names_and_never_the_inbuilt_server(forced: set[BlockerCode]) -> None:
    everything = blockers_of(FREE._replace(kind=ServerKind.INBUILT, is_connected=True, machines=1, open_jobs=1))
    left = {blocker.code for blocker in left_after_force(everything, forced)}
    assert left == {blocker.code for blocker in everything} - (forced & FORCEABLE)
    assert BlockerCode.INBUILT in left
