"""`muster configuration-server onboarding`."""

import json
from typing import Any

from tests.cli.fake_api import FakeApi, Muster

PATH = "/api/v1/vaults/prod/configuration-servers/cs-ams-01/onboarding"


def onboarding() -> dict[str, Any]:
    """What the API shows."""
    lines = {name: f"the line to {name} --with 'quotes' \"and\" D:\\" for name in ("download", "verify")}
    return {
        "configurationServer": "cs-ams-01",
        "placement": "onPremises",
        "kind": "scaleOut",
        "version": "9.62.7096.1",
        "versionStatus": "Supported",
        "fileName": "muster-agent-9.62.7096.1.pyz",
        "downloadUrl": "https://muster.example/downloads/agent/9.62.7096.1",
        "sha256": "9f86d08",
        "sizeInBytes": 2 * 2**20,
        "commandLines": {
            "linux": {**lines, "unifiedSetup": "python3 x setup /CSIP 10.1.1.1", "registerOnly": "python3 x register"},
            "windows": {**lines, "unifiedSetup": "py -3 x setup", "registerOnly": "py -3 x register"},
        },
        "steps": ["Prepare a machine.", "Download."],
        "prerequisites": ["4 cores"],
    }


def test_everything_is_shown_and_lines_are_ready_to_paste(api: FakeApi, muster: Muster) -> None:
    api.answer("GET", PATH, onboarding())
    result = muster("configuration-server", "onboarding", "cs-ams-01")
    assert result.exit_code == 0
    assert api.asked("GET", PATH)[0].url.params["placement"] == "onPremises"
    lines = [line.strip() for line in result.stdout.splitlines()]
    for expected in ("1. Prepare a machine.", "2. Download.", "- 4 cores", "python3 x setup /CSIP 10.1.1.1"):
        assert expected in lines
    assert "the line to download --with 'quotes' \"and\" D:\\" in lines
    assert "or, to register only:" in lines
    assert "https://muster.example/downloads/agent/9.62.7096.1" in result.stdout


def test_placement_and_json(api: FakeApi, muster: Muster) -> None:
    api.answer("GET", PATH, onboarding())
    result = muster("cs", "onboarding", "cs-ams-01", "--placement", "AZURE", "--json")
    assert json.loads(result.stdout) == onboarding()
    assert api.asked("GET", PATH)[0].url.params["placement"] == "azure"
    assert muster("cs", "onboarding", "cs-ams-01", "--placement", "moon").exit_code == 2
