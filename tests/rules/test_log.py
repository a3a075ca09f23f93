"""Logs: one line an event, and no secret in any of them."""

import json
import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from app.core import secrets
from app.core.log import REDACTED, configure, redact
from app.core.setting_types import LogFormat, LogLevel

SECRET = secrets.issue(uuid.uuid4()).text
PASSPHRASE = secrets.new_passphrase()
SHAPED = [
    SECRET,
    SECRET.upper().replace(SECRET.split(".")[1].upper(), SECRET.split(".")[1]),
    PASSPHRASE,
    PASSPHRASE.upper(),
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
]


@given(st.sampled_from(SHAPED), st.text(), st.text())
def test_whatever_is_shaped_like_a_secret_is_redacted(secret: str, before: str, after: str) -> None:
    line = f"{before} {secret} {after}"
    nested = {"list": [line, {"deep": (line, 3)}], line: 1}
    entry = redact(None, "info", {"event": line, "other": line, "nested": nested})
    assert secret not in entry["event"]
    assert secret not in entry["other"]
    assert secret not in str(entry["nested"]["list"])
    assert REDACTED in entry["event"]


@pytest.mark.parametrize(
    "key",
    [
        "passphrase",
        "Passphrase",
        "old_passphrase",
        "credential",
        "client_secret",
        "token",
        "api_token",
        "Authorization",
        "registration_key",
        "registrationKey",
    ],
)
def test_values_under_secret_names_are_redacted(key: str) -> None:
    entry = redact(None, "info", {"event": "x", key: "short", "body": {key: ["a", "b"], "x": [{key: 1}]}})
    assert entry[key] == entry["body"][key] == entry["body"]["x"][0][key] == REDACTED
    assert redact(None, "info", {key: None}) == {key: None}


@given(st.dictionaries(st.sampled_from(["event", "path", "status", "name", "tokens"]), st.text() | st.integers()))
def test_everything_else_stays(entry: dict[str, Any]) -> None:
    assert redact(None, "info", dict(entry)) == entry


def test_names_and_identifiers_stay() -> None:
    entry = {
        "event": "token created",
        "name": "ps-ams-01.corp.example",
        "id": str(uuid.uuid4()),
        "version": "9.62.7096.1",
        "vault": "abcd-efgh-ijkl-mnop",
    }
    assert redact(None, "info", dict(entry)) == entry


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What went to standard error; logging is put back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield lambda: capsys.readouterr().err
    root.handlers[:], root.level = handlers, level
    root.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = False
    structlog.reset_defaults()


def _fault(passphrase: str) -> None:
    held_in_a_local = passphrase
    raise RuntimeError(f"failed with {len(held_in_a_local)} characters")


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_a_fault_is_written_without_the_values_of_its_frames(written: Callable[[], str], log_format: LogFormat) -> None:
    configure(log_format, LogLevel.INFO)
    log = structlog.get_logger("muster.test").bind()
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        try:
            _fault(PASSPHRASE)
        except RuntimeError as error:
            log.error("unhandled fault", exc_info=error, headers=[("authorization", f"Bearer {SECRET}")])
            logging.getLogger("elsewhere").warning("by the library: %s", SECRET)
    text = written()
    assert "failed with 39 characters" in text
    assert "r-1" in text
    assert "by the library" in text
    for secret in SHAPED:
        assert secret not in text


def test_json_is_one_line_an_event(written: Callable[[], str]) -> None:
    configure(LogFormat.JSON, LogLevel.INFO)
    log = structlog.get_logger("muster.test").bind()
    log.info("first\nsecond", number=3, passphrase="x")
    log.debug("not written")
    logging.getLogger("elsewhere").error("third")
    first, third = [json.loads(line) for line in written().splitlines()]
    assert (first["event"], first["number"], first["passphrase"]) == ("first\nsecond", 3, REDACTED)
    assert (first["level"], first["logger"]) == ("info", "muster.test")
    assert first["timestamp"].endswith("Z")
    assert third["event"] == "third"
