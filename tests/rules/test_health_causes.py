"""What alerts say: every code has causes, an action, and sentences with the values."""

import pytest

from app.health.causes import (
    AGENT_VERSION,
    CONFIGURATION_SERVER,
    CONFIGURATION_SERVER_VERSION,
    EXPIRES_AT,
    LATEST_RELEASE,
    SERVICES,
    advice_for,
    sentence_of,
    sentence_of_end,
)
from app.vocabulary import AlertCode, Severity

WHO = "process server ps-1"
DETAILS = {
    SERVICES: ["tmansvc", "obengine"],
    AGENT_VERSION: "9.63.0.0",
    CONFIGURATION_SERVER: "cs-1",
    CONFIGURATION_SERVER_VERSION: "9.62.7096.1",
    LATEST_RELEASE: "9.70.1.1",
    EXPIRES_AT: "2026-11-24T12:00:00.000Z",
}


@pytest.mark.parametrize("code", AlertCode)
def test_every_alert_has_causes_an_action_and_sentences(code: AlertCode) -> None:
    advice = advice_for(code, DETAILS)
    assert advice.possible_causes
    assert all(advice.possible_causes)
    assert advice.recommended_action
    for value in (None, 42.125):
        for severity in (Severity.WARNING, Severity.CRITICAL):
            assert WHO in sentence_of(code, WHO, severity, value, 30, DETAILS)
    assert WHO in sentence_of_end(code, WHO, DETAILS)
    for text in (*advice.possible_causes, advice.recommended_action):
        assert "None" not in text


@pytest.mark.parametrize(
    ("code", "value", "words"),
    [
        (AlertCode.CPU_UTILISATION, 97.125, ["97.125 %", "above 95 %"]),
        (AlertCode.CACHE_FREE_SPACE, 18.0, ["18 %", "below 95 %"]),
        (AlertCode.PENDING_UPLOAD, 46.0, ["46 min", "above 95 min"]),
        (AlertCode.PENDING_UPLOAD, None, ["nothing"]),
        (AlertCode.SERVICES_STOPPED, 2.0, ["tmansvc, obengine"]),
        (AlertCode.CLOCK_SKEW, 301.0, ["301 s"]),
        (AlertCode.VERSION_ABOVE_CONFIGURATION_SERVER, None, ["9.63.0.0", "9.62.7096.1", "cs-1"]),
        (AlertCode.VERSION_NOT_SUPPORTED, None, ["9.63.0.0", "9.70.1.1"]),
        (AlertCode.CERTIFICATE_EXPIRING, 0.0, ["2026-11-24"]),
    ],
)
def test_sentences_name_the_values(code: AlertCode, value: float | None, words: list[str]) -> None:
    sentence = sentence_of(code, WHO, Severity.CRITICAL, value, 95, DETAILS)
    for word in words:
        assert word in sentence


def test_the_action_of_a_version_above_names_both() -> None:
    action = advice_for(AlertCode.VERSION_ABOVE_CONFIGURATION_SERVER, DETAILS).recommended_action
    assert "from 9.62.7096.1 to 9.63.0.0 or newer" in action
    assert "no new machines" in action
