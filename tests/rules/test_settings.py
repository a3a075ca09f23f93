"""Settings: where they come from, what is refused and how it is said, what is kept secret."""

from pathlib import Path

import pytest

from app.core.setting_types import MigrateAtStart
from app.core.settings import Settings, SettingsError, load_settings, unknown_variables


def refusal(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    """The message with which the settings in `variables` are refused."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        load_settings()
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("MUSTER_PORT", "eighty", "valid integer"),
        ("MUSTER_PORT", "0", "greater than or equal to 1"),
        ("MUSTER_PORT", "65536", "less than or equal to 65535"),
        ("MUSTER_HEARTBEAT_INTERVAL_SECONDS", "0", "greater than 0"),
        ("MUSTER_HEARTBEAT_INTERVAL_SECONDS", "nan", ""),
        ("MUSTER_HEARTBEAT_TIMEOUT_SECONDS", "-5", "greater than 0"),
        ("MUSTER_HEARTBEAT_TIMEOUT_SECONDS", "inf", ""),
        ("MUSTER_MONITOR_TICK_SECONDS", "soon", "valid number"),
        ("MUSTER_WORKERS", "0", "greater than or equal to 1"),
        ("MUSTER_LOG_FORMAT", "xml", "'console' or 'json'"),
        ("MUSTER_MIGRATE_AT_START", "maybe", "'auto', 'always' or 'never'"),
        ("MUSTER_EVENT_RETENTION_DAYS", "0", "greater than or equal to 1"),
        ("MUSTER_DATABASE_URL", "mysql://root:topsecret@db/x", "has the driver 'mysql'"),
        ("MUSTER_DATABASE_URL", "postgresql://u:topsecret@db/x", "use postgresql+asyncpg://"),
        ("MUSTER_DATABASE_URL", "no url with topsecret", "is not a database URL"),
        ("MUSTER_DATABASE_URL", "postgresql+asyncpg://u:topsecret@db:port/x", "is not a database URL"),
        ("MUSTER_DATABASE_URL", "sqlite+aiosqlite://", "names no file"),
        ("MUSTER_DATABASE_URL", "sqlite+aiosqlite:///:memory:", "names no file"),
        ("MUSTER_BOOTSTRAP_ADMIN_TOKEN", "topsecret", "is shorter than 12 characters"),
        ("MUSTER_SECRET_KEY", "topsecret", "is not 32 bytes"),
        ("MUSTER_SECRET_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=,topsecret", "is not 32 bytes"),
        ("MUSTER_WEBHOOK_ALLOWED_NETWORKS", "10.0.0.0/8,10.0.0.1/8", "has '10.0.0.1/8', which is no network"),
        ("MUSTER_SMTP_FROM", "Muster <muster@example.com>", "is not a mail address"),
        ("MUSTER_SMTP_HOST", "mail.example", "needs MUSTER_SMTP_FROM"),
        ("MUSTER_SMTP_USERNAME", "muster", "go together"),
        ("MUSTER_SMTP_PASSWORD", "topsecret", "go together"),
        ("MUSTER_SMTP_TLS", "ssl", "starttls"),
    ],
)
def test_a_bad_setting_is_named_with_its_value_and_the_reason(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    message = refusal(monkeypatch, **{name: value})
    assert message.startswith(name) or "go together" in reason
    assert name in message
    assert reason in message
    assert "topsecret" not in message
    secret = {"MUSTER_DATABASE_URL", "MUSTER_BOOTSTRAP_ADMIN_TOKEN", "MUSTER_SECRET_KEY"}
    if name not in secret and "needs" not in reason and "go together" not in reason:
        assert f"'{value}'" in message


def test_every_bad_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refusal(monkeypatch, MUSTER_PORT="x", MUSTER_WORKERS="y")
    assert [line.split()[0] for line in message.splitlines()] == ["MUSTER_PORT", "MUSTER_WORKERS"]


def test_settings_that_do_not_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "MUSTER_WORKERS is 2" in refusal(monkeypatch, MUSTER_WORKERS="2")
    monkeypatch.delenv("MUSTER_WORKERS")
    assert "MUSTER_TLS_KEY_FILE" in refusal(monkeypatch, MUSTER_TLS_CERTIFICATE_FILE="/x.pem")


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "muster.env"
    file.write_text("MUSTER_PORT=9001\nMUSTER_HOST=0.0.0.0\n# a comment\n")
    monkeypatch.setenv("MUSTER_SETTINGS_FILE", str(file))
    monkeypatch.setenv("MUSTER_PORT", "9002")
    settings = load_settings()
    assert (settings.port, settings.host, settings.workers) == (9002, "0.0.0.0", 1)
    assert [settings.source_of(name) for name in ("port", "host", "workers")] == ["environment", "file", "default"]


def test_an_unknown_name_in_the_file_is_a_typing_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "muster.env"
    file.write_text("MUSTER_HEARTBEAT_INTERVALL_SECONDS=topsecret\n")
    message = refusal(monkeypatch, MUSTER_SETTINGS_FILE=str(file))
    assert "unknown setting MUSTER_HEARTBEAT_INTERVALL_SECONDS in" in message
    assert "topsecret" not in message


def test_a_name_without_the_prefix_in_the_file_is_shown_as_it_stands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "muster.env"
    file.write_text("PORT=80\n")
    assert "unknown setting PORT in" in refusal(monkeypatch, MUSTER_SETTINGS_FILE=str(file))


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "/nowhere/muster.env" in refusal(monkeypatch, MUSTER_SETTINGS_FILE="/nowhere/muster.env")


def test_an_unknown_variable_is_only_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSTER_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("MUSTER_PORT", "80")
    load_settings()
    assert unknown_variables() == ["MUSTER_SERVICE_HOST"]


def test_secrets_are_masked() -> None:
    settings = Settings(
        database_url="postgresql+asyncpg://muster:topsecret@db/muster", bootstrap_admin_token="topsecret-token"
    )
    shown = [settings.masked(name) for name in Settings.model_fields]
    assert not [text for text in [*shown, repr(settings), str(settings)] if "topsecret-token" in text]
    assert not [text for text in shown if "topsecret" in text]
    assert settings.masked("database_url") == "postgresql+asyncpg://muster:***@db/muster"


def test_the_object_itself_hides_the_password_of_the_database() -> None:
    settings = Settings(database_url="postgresql+asyncpg://muster:topsecret@db/muster")
    assert "topsecret" not in repr(settings)


def test_an_empty_preset_token_is_none() -> None:
    assert Settings(bootstrap_admin_token="").bootstrap_admin_token is None


@pytest.mark.parametrize(
    ("interval", "timeout", "tick", "effective_interval", "effective_tick"),
    [(30, 900, 5, 30, 5), (30, 10, 5, 2, 2.5), (600, 900, 5, 180, 5), (1, 900, 600, 1, 225), (30, 1, 5, 0.2, 0.25)],
)
def test_a_short_timeout_shortens_interval_and_tick(
    interval: float, timeout: float, tick: float, effective_interval: float, effective_tick: float
) -> None:
    settings = Settings(
        heartbeat_interval_seconds=interval, heartbeat_timeout_seconds=timeout, monitor_tick_seconds=tick
    )
    assert settings.effective_interval_seconds == effective_interval
    assert settings.effective_tick_seconds == effective_tick


def test_where_the_database_is_and_who_migrates(tmp_path: Path) -> None:
    embedded = Settings(data_dir=tmp_path)
    assert embedded.resolved_database_url == f"sqlite+aiosqlite:///{tmp_path}/muster.db"
    assert embedded.migrates_at_start
    assert not Settings(database_url="postgresql+asyncpg://db/muster").migrates_at_start
    assert Settings(
        database_url="postgresql+asyncpg://db/muster", migrate_at_start=MigrateAtStart.ALWAYS
    ).migrates_at_start
    assert not Settings(data_dir=tmp_path, migrate_at_start=MigrateAtStart.NEVER).migrates_at_start


def test_lists_in_settings_are_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    monkeypatch.setenv("MUSTER_SECRET_KEY", f" {key} , {key}")
    monkeypatch.setenv("MUSTER_WEBHOOK_ALLOWED_NETWORKS", "10.0.0.0/8, fd00::/8")
    settings = load_settings()
    assert settings.secret_keys == [key, key]
    assert [str(network) for network in settings.allowed_networks] == ["10.0.0.0/8", "fd00::/8"]
    assert key not in f"{settings!r} {settings.masked('secret_key')}"
    assert Settings(secret_key=" ", smtp_password="").secret_keys == []
