"""The state file: whole or untouched, private, and never guessed at."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agent.lock import AlreadyRunningError, StateLock, is_locked
from app.agent.state import (
    DesiredState,
    Identity,
    LastHeartbeat,
    Outage,
    PendingRegistration,
    Purge,
    Settings,
    State,
    StateError,
)
from app.agent.store import FileStateStore, MemoryStateStore, write_private_file

from .fakes import CREDENTIAL, registered_state

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(st.text(), json_values, max_size=4)
seconds = st.floats(allow_nan=False)
states = st.builds(
    State,
    settings=st.none() | st.builds(Settings),
    identity=st.none() | st.builds(Identity, interval_seconds=seconds, timeout_seconds=seconds),
    pending=st.none() | st.builds(PendingRegistration, body=documents),
    desired=st.none() | st.builds(DesiredState, document=documents),
    last_heartbeat=st.none() | st.builds(LastHeartbeat),
    outage=st.none() | st.builds(Outage),
    purge=st.none() | st.builds(Purge),
)


@given(states)
def test_every_state_survives_the_way_through_json(state: State) -> None:
    assert State.from_document(json.loads(json.dumps(state.to_document()))) == state
    assert MemoryStateStore(state).load() == state


@given(json_values)
def test_no_document_is_read_as_something_it_is_not(document: Any) -> None:
    with pytest.raises(ValueError):
        State.from_document(document)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"schemaVersion": 2}, "newer agent"),
        ({"schemaVersion": 0}, "does not exist"),
        ({"schemaVersion": "1"}, "schemaVersion"),
        ({"schemaVersion": True}, "schemaVersion"),
        ({"hostId": None}, "state.hostId has the wrong type"),
        ({"hostId": 5}, "state.hostId has the wrong type"),
        ({"identity": {}}, "state.identity.id is missing"),
        ({"settings": {"url": "u", "services": ["a", 1]}}, r"state.settings.services\[1\]"),
        ({"desired": {"generation": True, "document": {}}}, "state.desired.generation"),
        ({"desired": {"generation": 1, "document": []}}, "state.desired.document"),
        ({"desired": []}, "state.desired"),
    ],
)
def test_a_wrong_member_is_named(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        State.from_document(registered_state().to_document() | change)


def test_members_of_the_document_are_camel_case_and_unknown_ones_are_left_out() -> None:
    document = registered_state().to_document()
    assert document["schemaVersion"] == 1
    assert document["identity"]["timeoutSeconds"] == 900
    assert State.from_document(document | {"colour": "blue"}) == registered_state()


def test_the_file_is_private_and_its_folder_too(tmp_path: Path) -> None:
    store = FileStateStore(tmp_path / "deep" / "state")
    assert store.load() is None
    old = os.umask(0)
    try:
        store.save(registered_state())
    finally:
        os.umask(old)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert store.load() == registered_state()


def test_a_file_left_open_to_others_is_private_after_the_next_save(tmp_path: Path) -> None:
    store = FileStateStore(tmp_path)
    store.save(registered_state())
    store.path.chmod(0o644)
    leftover = tmp_path / ".state.json.tmp"
    leftover.write_text("left by a crash")
    leftover.chmod(0o666)
    store.save(registered_state())
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize("failing", ["os.fsync", "pathlib.Path.replace"])
def test_a_failing_write_leaves_the_old_state_whole(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStateStore(tmp_path)
    store.save(registered_state())

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(failing, fail)
        with pytest.raises(StateError, match="No space left on device"):
            store.save(registered_state(host_id="other"))
    assert store.load() == registered_state()
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_content_is_on_disk_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    calls: list[str] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        calls.append(f"{'folder' if is_folder else 'file'} while the name holds {path.read_text()}")
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", record)
    write_private_file(path, "new")
    assert calls == ["file while the name holds old", "folder while the name holds new"]


@pytest.mark.parametrize("content", [b"", b"{", b"\x00" * 400, b"\xff\xfe", b"null", b"{}", b"[" * 100_000])
def test_a_damaged_file_is_told_and_left_alone(content: bytes, tmp_path: Path) -> None:
    store = FileStateStore(tmp_path)
    store.path.write_bytes(content)
    with pytest.raises(StateError, match="is damaged") as caught:
        store.load()
    assert str(store.path) in str(caught.value)
    assert "--force" in str(caught.value)
    assert store.path.read_bytes() == content


def test_a_damaged_file_does_not_spill_its_secret(tmp_path: Path) -> None:
    store = FileStateStore(tmp_path)
    store.save(registered_state())
    store.path.write_text(store.path.read_text()[:-4])
    with pytest.raises(StateError) as caught:
        store.load()
    assert CREDENTIAL not in str(caught.value)


def test_one_agent_for_one_folder(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    with StateLock(tmp_path):
        assert is_locked(tmp_path)
        with pytest.raises(AlreadyRunningError, match=f"process {os.getpid()}"), StateLock(tmp_path):
            pass
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)
    with StateLock(tmp_path):
        pass
