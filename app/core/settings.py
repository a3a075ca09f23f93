"""Settings: `MUSTER_*` from the environment, or from a file named by `MUSTER_SETTINGS_FILE`.

The environment wins over the file, the file over the default. Every field's description is the
documentation that `muster settings` and the README print.
"""

import importlib.util
import os
from pathlib import Path
from typing import Any, Self

from dotenv import dotenv_values
from fastapi import Request
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from app.core.setting_types import (
    CLIENT_VARIABLES,
    LogFormat,
    LogLevel,
    MailAddress,
    MigrateAtStart,
    Network,
    Networks,
    Seconds,
    SecretKeys,
    SmtpTls,
    networks_in,
    parts,
)
from app.vocabulary import HEARTBEATS_PER_TIMEOUT, TICKS_PER_TIMEOUT, WINDOWS_PER_TIMEOUT

PREFIX = "MUSTER_"
FILE_VARIABLE = "MUSTER_SETTINGS_FILE"
DATABASE_FILE = "muster.db"
MINIMUM_TOKEN_LENGTH = 12

POSTGRESQL_DRIVER = "postgresql+asyncpg"
SQLITE_DRIVER = "sqlite+aiosqlite"


class SettingsError(Exception):
    """A setting can't be used; the message names it, its value and what would be right."""


class Settings(BaseSettings):
    """All that an operator can set. Unknown names in a settings file are refused: they are typing errors."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    database_url: str = Field(
        default="",
        repr=False,
        description="SQLAlchemy URL: `postgresql+asyncpg://user:password@host/name` or "
        "`sqlite+aiosqlite:////path/muster.db`. Default: SQLite in the data folder.",
    )
    data_dir: Path = Field(
        default=Path("data"), description="Folder of the embedded database and the first admin token."
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=1, le=65_535, description="TCP port to listen on.")
    workers: int = Field(default=1, ge=1, le=64, description="Worker processes; more than 1 needs PostgreSQL.")
    tls_certificate_file: Path | None = Field(
        default=None, description="PEM certificate chain; with the key, serve HTTPS."
    )
    tls_key_file: Path | None = Field(default=None, description="PEM private key of the certificate.")
    public_url: str | None = Field(
        default=None,
        description="The URL that agents and browsers reach Muster under, when a proxy stands before it.",
    )
    forwarded_allow_ips: str = Field(
        default="127.0.0.1", description="Comma-separated proxies whose X-Forwarded-* headers are believed."
    )
    migrate_at_start: MigrateAtStart = Field(
        default=MigrateAtStart.AUTO,
        description="Migrate when `muster serve` starts: `auto` does so on SQLite only, `always`, `never`.",
    )
    database_pool_size: int = Field(default=10, ge=1, le=500, description="Connections per worker to PostgreSQL.")
    bootstrap_admin_token: SecretStr | None = Field(
        default=None,
        description="Presets the first admin token (12 characters or more). It is used only while no token exists.",
    )
    heartbeat_interval_seconds: Seconds = Field(
        default=30,
        description="Seconds between two heartbeats of an agent. Never more than a fifth of the timeout is asked for.",
    )
    heartbeat_timeout_seconds: Seconds = Field(
        default=900, description="Seconds without a heartbeat after which a server is `Disconnected`."
    )
    heartbeat_queue_size: int = Field(
        default=20_000,
        ge=1,
        le=1_000_000,
        description="Heartbeats waiting for a commit before new ones get 503.",
    )
    heartbeat_batch_size: int = Field(
        default=1_000, ge=1, le=10_000, description="Heartbeats in one commit at the most."
    )
    heartbeats_per_second: float = Field(
        default=5_000,
        gt=0,
        le=1_000_000,
        description="Heartbeats the fleet may send in a second; a larger fleet is asked for longer intervals.",
    )
    monitor_tick_seconds: Seconds = Field(
        default=5,
        description="Seconds between two looks for silent servers; never more than a quarter of the timeout.",
    )
    brake_share_percentage: float = Field(
        default=55, gt=0, le=100, description="Percent of a site's servers whose silence at once makes them `Unknown`."
    )
    brake_minimum_servers: int = Field(
        default=3, ge=1, le=1_000_000, description="Servers that it takes at least; above the fleet's size: never."
    )
    brake_window_seconds: Seconds = Field(
        default=300, description="Seconds that are at once; at least the interval, at most a third of the timeout."
    )
    brake_hold_seconds: Seconds = Field(
        default=900, description="Seconds that such servers are `Unknown` before they become `Disconnected`."
    )
    brake_releases_per_minute: float = Field(
        default=20, gt=0, le=100_000, description="Servers of one site that become `Disconnected` in a minute then."
    )
    alert_window_seconds: Seconds = Field(
        default=900, description="Seconds a condition must hold before it is an alert."
    )
    telemetry_retention_days: int = Field(
        default=7, ge=1, le=90, description="Days after which telemetry history is deleted."
    )
    event_retention_days: int = Field(
        default=90, ge=1, le=3_650, description="Days after which events and past alerts are deleted."
    )
    secret_key: SecretKeys = Field(
        default=None,
        description="Key that webhook secrets are encrypted with: 32 random bytes in URL-safe base64, the same in all "
        "replicas. Several, separated by commas, while one replaces another: the first encrypts, all decrypt. "
        "Default: the file `secret-key` in the data folder, made when it is first needed.",
    )
    webhook_allowed_networks: Networks = Field(
        default="",
        description="Comma-separated networks such as `10.20.0.0/16` that webhooks may reach though they are private.",
    )
    webhook_allow_http: bool = Field(default=False, description="Let webhooks have `http://` addresses.")
    webhook_timeout_seconds: float = Field(
        default=10, gt=0, le=50, description="Seconds that one attempt to deliver to a webhook may take."
    )
    smtp_host: str = Field(default="", description="Mail server; without one there are no mail subscriptions.")
    smtp_port: int = Field(default=587, ge=1, le=65_535, description="TCP port of the mail server.")
    smtp_tls: SmtpTls = Field(
        default=SmtpTls.STARTTLS, description="`starttls`, `tls` (from the first byte, usually port 465) or `none`."
    )
    smtp_username: str = Field(default="", description="User to log in to the mail server as; empty for no login.")
    smtp_password: SecretStr | None = Field(default=None, description="Password of that user.")
    smtp_from: MailAddress = Field(default="", description="Sender of mails, as in `muster@example.com`.")
    digest_window_seconds: float = Field(
        default=10,
        ge=0,
        le=600,
        description="Seconds in which events are gathered before they are sent, so that a storm becomes one digest.",
    )
    digest_threshold: int = Field(
        default=10,
        ge=0,
        le=1_000,
        description="Like events of one site in that time that become a digest instead of single messages; 0: never.",
    )
    delivery_retry_hours: float = Field(
        default=24, gt=0, le=168, description="Hours in which a failed delivery is tried again."
    )
    delivery_retention_days: int = Field(
        default=14, ge=1, le=3_650, description="Days after which ended deliveries leave the delivery log."
    )
    notification_failure_days: float = Field(
        default=5,
        gt=0,
        le=365,
        description="Days without a success after which a failing webhook or mail subscription is disabled.",
    )
    idempotency_retention_hours: int = Field(
        default=24,
        ge=1,
        le=720,
        description="Hours in which a repeated `Idempotency-Key` gets the first answer again.",
    )
    registration_failures_per_address: int = Field(
        default=10, ge=1, le=100_000, description="Failed registrations per address and window before 429."
    )
    registration_failures_per_server: int = Field(
        default=50,
        ge=1,
        le=100_000,
        description="Failed registrations per configuration server and window before 429.",
    )
    registration_failure_window_seconds: Seconds = Field(
        default=60, description="Seconds in which failed registrations are counted."
    )
    max_body_bytes: int = Field(
        default=1_048_576, ge=1_024, le=1_073_741_824, description="Largest request body taken."
    )
    max_import_bytes: int = Field(
        default=16_777_216,
        ge=1_024,
        le=1_073_741_824,
        description="Largest file of source machines taken, in bytes.",
    )
    shutdown_seconds: Seconds = Field(default=8, description="Seconds that open requests may take after SIGTERM.")
    log_format: LogFormat = Field(default=LogFormat.CONSOLE, description="`console` or `json`.")
    log_level: LogLevel = Field(default=LogLevel.INFO, description="`debug`, `info`, `warning` or `error`.")
    metrics_vault_limit: int = Field(
        default=100,
        ge=0,
        le=10_000,
        description="Vaults with a label of their own in `/metrics`, the oldest; the rest are summed as `other`.",
    )
    tracing: bool = Field(
        default=False, description="Send OpenTelemetry traces to where the `OTEL_EXPORTER_OTLP_*` variables say."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the settings file."""
        return (init_settings, env_settings, dotenv_settings)

    @field_validator("database_url")
    @classmethod
    def _known_driver(cls, value: str) -> str:
        if not value:
            return value
        try:
            url = make_url(value)
        except (ArgumentError, ValueError):
            raise ValueError("is not a database URL") from None
        if url.drivername not in {POSTGRESQL_DRIVER, SQLITE_DRIVER}:
            raise ValueError(f"has the driver '{url.drivername}'; use {POSTGRESQL_DRIVER}:// or {SQLITE_DRIVER}://")
        if url.drivername == SQLITE_DRIVER and (url.database or ":memory:") == ":memory:":
            # Each connection would see a database of its own.
            raise ValueError(f"names no file; use {SQLITE_DRIVER}:////path/muster.db")
        return value

    @field_validator("bootstrap_admin_token")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        if len(value.get_secret_value()) < MINIMUM_TOKEN_LENGTH:
            raise ValueError(f"is shorter than {MINIMUM_TOKEN_LENGTH} characters")
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.smtp_host and not self.smtp_from:
            raise ValueError("MUSTER_SMTP_HOST needs MUSTER_SMTP_FROM, the sender of mails")
        if bool(self.smtp_username) != bool(self.smtp_password and self.smtp_password.get_secret_value()):
            raise ValueError("MUSTER_SMTP_USERNAME and MUSTER_SMTP_PASSWORD go together")
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError("MUSTER_TLS_CERTIFICATE_FILE and MUSTER_TLS_KEY_FILE go together")
        if self.workers > 1 and self.is_sqlite:
            raise ValueError(
                f"MUSTER_WORKERS is {self.workers}, but the embedded SQLite serves one process; "
                "set MUSTER_DATABASE_URL to PostgreSQL or MUSTER_WORKERS to 1"
            )
        if self.tracing and not _can_trace():
            raise ValueError("MUSTER_TRACING needs packages that are not installed: pip install 'muster[tracing]'")
        return self

    @property
    def resolved_database_url(self) -> str:
        """The database URL with the default filled in."""
        if self.database_url:
            return self.database_url
        return f"{SQLITE_DRIVER}:///{(self.data_dir / DATABASE_FILE).absolute()}"

    @property
    def database_name(self) -> str:
        """The database's name; of the embedded one, its file's."""
        return Path(make_url(self.resolved_database_url).database or "").name

    @property
    def is_sqlite(self) -> bool:
        """Whether the embedded database is used."""
        return make_url(self.resolved_database_url).drivername == SQLITE_DRIVER

    @property
    def effective_tick_seconds(self) -> float:
        """The monitor's tick: a short timeout needs a short tick, or every pause would look like an outage."""
        return min(self.monitor_tick_seconds, self.heartbeat_timeout_seconds / TICKS_PER_TIMEOUT)

    @property
    def effective_interval_seconds(self) -> float:
        """The heartbeat interval that registrations name: at most a fifth of the timeout."""
        return min(self.heartbeat_interval_seconds, self.heartbeat_timeout_seconds / HEARTBEATS_PER_TIMEOUT)

    @property
    def effective_brake_window_seconds(self) -> float:
        """The brake's window: a site's servers are all in it, and each of them has missed three heartbeats at least."""
        window = max(self.brake_window_seconds, self.effective_interval_seconds)
        return min(window, self.heartbeat_timeout_seconds / WINDOWS_PER_TIMEOUT)

    @property
    def migrates_at_start(self) -> bool:
        """Whether `muster serve` migrates before it serves."""
        if self.migrate_at_start is MigrateAtStart.AUTO:
            return self.is_sqlite
        return self.migrate_at_start is MigrateAtStart.ALWAYS

    @property
    def secret_keys(self) -> list[str]:
        """The keys of `secret_key`, the one that encrypts first; empty when there is none."""
        return parts(self.secret_key.get_secret_value()) if self.secret_key else []

    @property
    def allowed_networks(self) -> list[Network]:
        """The networks of `webhook_allowed_networks`."""
        return networks_in(self.webhook_allowed_networks)

    def masked(self, name: str) -> str:
        """The value of the setting `name` as text, without secrets."""
        value: Any = getattr(self, name)
        if name == "database_url":
            return make_url(self.resolved_database_url).render_as_string(hide_password=True)
        return "" if value is None else str(value)

    def source_of(self, name: str) -> str:
        """Where the value of `name` comes from: `environment`, `file` or `default`."""
        if any(key.upper() == f"{PREFIX}{name.upper()}" for key in os.environ):
            return "environment"
        return "file" if name in self.model_fields_set else "default"


def _can_trace() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False


def load_settings() -> Settings:
    """Read the settings.

    Raises SettingsError naming every setting that can't be used, its value unless it is secret, and why.
    """
    file = os.environ.get(FILE_VARIABLE)
    if file and not Path(file).is_file():
        raise SettingsError(f"{FILE_VARIABLE} names '{file}', which is not a file")
    unknown = [key for key in dotenv_values(file) if key.upper() not in _known_variables()] if file else []
    if unknown:
        raise SettingsError(
            "\n".join(f"unknown setting {key} in {file}; `muster settings` lists the ones there are" for key in unknown)
        )
    try:
        return Settings(_env_file=file)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(problem) for problem in error.errors())) from None


def _known_variables() -> set[str]:
    return {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}


def unknown_variables() -> list[str]:
    """`MUSTER_*` variables that nothing reads. A warning, not an error: orchestrators inject such names."""
    known = _known_variables() | {FILE_VARIABLE} | CLIENT_VARIABLES
    return sorted(key for key in os.environ if key.upper().startswith(PREFIX) and key.upper() not in known)


def _explain(problem: Any) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return str(message)
    name = f"{PREFIX}{problem['loc'][0]}".upper()
    secret = name in {
        "MUSTER_BOOTSTRAP_ADMIN_TOKEN",
        "MUSTER_DATABASE_URL",
        "MUSTER_SECRET_KEY",
        "MUSTER_SMTP_PASSWORD",
    }
    value = "" if secret else f" is '{problem['input']}':"
    return f"{name}{value} {message[0].lower()}{message[1:]}"


def settings_of(request: Request) -> Settings:
    """The application's settings."""
    settings: Settings = request.app.state.settings
    return settings
