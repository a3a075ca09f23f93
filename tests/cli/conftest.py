"""The command line, run against canned answers."""

import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from app.cli.application import build
from tests.cli.fake_api import TOKEN, FakeApi, Muster


@pytest.fixture
def api() -> FakeApi:
    """The control plane of this test, with the one vault `prod`."""
    fake = FakeApi()
    fake.pages("/api/v1/vaults", [{"id": "0192f0c1-0000-7000-8000-000000000001", "name": "prod"}])
    return fake


@pytest.fixture
def muster(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Muster:
    """Runs `muster` in an empty folder with a token and nothing else of the environment."""
    for name in list(os.environ):
        if name.startswith("MUSTER_") or name in {"FORCE_COLOR", "NO_COLOR", "COLUMNS"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("MUSTER_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **more: Any) -> Result:
        result = CliRunner().invoke(build(httpx.MockTransport(api)), list(arguments), **more)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert TOKEN not in result.output
        return result

    return run
