"""The control plane's own commands: serve, migrate, settings, admin-token. They need no API."""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from app.core.settings import Settings

SERVER_PANEL = "The control plane itself"
EXIT_BAD_SETTINGS = 2
ADMIN_TOKEN_FILE = "admin-token"
MINIMUM_KEEP_ALIVE_SECONDS = 75
KEEP_ALIVE_MARGIN_SECONDS = 30
WORKER_START_SECONDS = 30
"""A worker that does not answer the supervisor for that long is replaced, and one answers only once Python has read
this package. uvicorn's default of 5 s is less than that on a busy machine: each new worker would be killed in turn."""


def register(application: typer.Typer) -> None:
    """Add the commands."""
    application.command("serve", rich_help_panel=SERVER_PANEL)(serve)
    application.command("migrate", rich_help_panel=SERVER_PANEL)(migrate)
    application.command("settings", rich_help_panel=SERVER_PANEL)(show_settings)
    application.command("admin-token", rich_help_panel=SERVER_PANEL)(admin_token)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; overrides MUSTER_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port; overrides MUSTER_PORT.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; overrides MUSTER_WORKERS.")] = None,
    database_url: Annotated[str | None, typer.Option(help="Overrides MUSTER_DATABASE_URL.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Overrides MUSTER_DATA_DIR.")] = None,
) -> None:
    """Serve the API. Migrates the embedded database and makes the first admin token when there is none."""
    import asyncio

    from app.core.setting_types import MigrateAtStart
    from app.core.settings import unknown_variables

    given = {
        "host": host,
        "port": port,
        "workers": workers,
        "database_url": database_url,
        "data_dir": data_dir,
    }
    for name, value in given.items():
        if value is not None:
            # Through the environment, so that worker processes and `/readyz` see one truth.
            os.environ[f"MUSTER_{name.upper()}"] = str(value)
    settings = _settings()
    _private_files()
    for name in unknown_variables():
        _say(f"warning: nothing reads {name}; `muster settings` lists what there is")
    if settings.is_sqlite or not settings.data_dir.exists():
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    token = asyncio.run(_prepare(settings, migrates=settings.migrates_at_start))
    scheme = "https" if settings.tls_certificate_file else "http"
    shown_host = f"[{settings.host}]" if ":" in settings.host else settings.host
    print(
        f"Muster serves {scheme}://{shown_host}:{settings.port} (pages: {scheme}://{shown_host}:{settings.port}/docs)"
    )
    if settings.migrate_at_start is MigrateAtStart.AUTO and settings.is_sqlite:
        print(f"Database: {settings.masked('database_url')}")
    if token is not None:
        print(f"Admin token, shown this once and kept in {_keep(settings, token)}:\n\n    {token}\n")
    sys.stdout.flush()
    with _shared_metrics(settings.workers):
        _run(settings)


@contextlib.contextmanager
def _shared_metrics(workers: int) -> Iterator[None]:
    """A folder in which several workers keep their metrics while they serve."""
    if workers == 1 or "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="muster-metrics-", ignore_cleanup_errors=True) as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        yield


def _run(settings: "Settings") -> None:
    import uvicorn

    from app.heartbeats.protocol import HeartbeatProtocol

    uvicorn.run(
        "app.main:served",
        factory=True,
        http=HeartbeatProtocol,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=4096,
        # A connection must outlive the interval between two heartbeats, or each of them pays for a new one.
        timeout_keep_alive=int(
            max(MINIMUM_KEEP_ALIVE_SECONDS, settings.heartbeat_timeout_seconds / 5 + KEEP_ALIVE_MARGIN_SECONDS)
        ),
        timeout_worker_healthcheck=WORKER_START_SECONDS,
        timeout_graceful_shutdown=max(int(settings.shutdown_seconds), 1),
        ssl_certfile=settings.tls_certificate_file,
        ssl_keyfile=settings.tls_key_file,
    )


def migrate(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 1 when a migration is due.")] = False,
) -> None:
    """Bring the database to this version's schema. Run it before new replicas start on PostgreSQL."""
    import asyncio

    settings = _settings()
    _private_files()
    if settings.is_sqlite:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    before, after = asyncio.run(_migrate(settings, check))
    if before == after:
        print(f"{settings.masked('database_url')} is at revision {after}; nothing to do")
    elif check:
        print(f"{settings.masked('database_url')} is at revision {before or 'none'}; this version needs {after}")
        raise typer.Exit(1)
    else:
        print(f"{settings.masked('database_url')} went from revision {before or 'none'} to {after}")


def show_settings(
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Print every setting with its value and where it comes from; secrets are masked."""
    from app.core.settings import PREFIX, Settings

    settings = _settings()
    rows = [
        {
            "name": f"{PREFIX}{name.upper()}",
            "value": settings.masked(name),
            "source": settings.source_of(name),
            "description": field.description or "",
        }
        for name, field in Settings.model_fields.items()
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console.width = max(len(row["name"]) + len(row["value"]) + len(row["source"]) for row in rows) + 20
        for row in rows:
            console.print(f"{row['name']}={row['value']}  ({row['source']})", markup=False, highlight=False)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("Setting", "Value", "Source", "What it is"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(row["name"].replace("[", "\\["), row["value"], row["source"], row["description"])
    console.print(table)


def admin_token(
    name: Annotated[str, typer.Option(help="Name of the new token.")] = "recovery",
) -> None:
    """Make an admin token straight in the database, for whoever lost the last one. It is printed once."""
    import asyncio

    settings = _settings()
    print(asyncio.run(_admin_token(settings, name)))


def _private_files() -> None:
    """The embedded database holds hashes and events: nobody else on the machine has to read it."""
    os.umask(0o077)


def _settings() -> "Settings":
    from app.core.settings import SettingsError, load_settings

    try:
        return load_settings()
    except SettingsError as error:
        _say(f"Muster can't start:\n{error}")
        raise typer.Exit(EXIT_BAD_SETTINGS) from None


async def _prepare(settings: "Settings", *, migrates: bool) -> str | None:
    """Migrate where that is the rule, refuse another schema, make the first token. Returns a token to show."""
    from app.core import migrations
    from app.core.clock import SystemClock
    from app.core.db import Database
    from app.core.errors import Unavailable
    from app.tokens.service import create_first

    database = Database(settings.resolved_database_url)
    try:
        if migrates:
            await migrations.upgrade(database)
        revision = await migrations.current(database)
        if migrations.is_behind(revision):
            needed = f"this version needs {migrations.head()}: run 'muster migrate' first"
            _stop(f"the database is at revision {revision or 'none'}, {needed}")
        clock = SystemClock()
        await database.synchronise(clock)
        preset = settings.bootstrap_admin_token
        made = await create_first(database, preset.get_secret_value() if preset else None, clock.now())
        # A preset token is known to whoever set it.
        return None if preset else made
    except (Unavailable, OSError) as error:
        _stop(f"{settings.masked('database_url')} does not answer: {error.__cause__ or error}")
    finally:
        await database.close()


async def _migrate(settings: "Settings", check: bool) -> tuple[str | None, str]:
    from app.core import migrations
    from app.core.db import Database
    from app.core.errors import Unavailable

    database = Database(settings.resolved_database_url)
    try:
        before = await migrations.current(database)
        if not check:
            await migrations.upgrade(database)
        return before, migrations.head()
    except (Unavailable, OSError) as error:
        _stop(f"{settings.masked('database_url')} does not answer: {error.__cause__ or error}")
    finally:
        await database.close()


async def _admin_token(settings: "Settings", name: str) -> str:
    from app.core.clock import SystemClock
    from app.core.db import Database
    from app.core.errors import MusterError
    from app.tokens.service import create_locally

    database = Database(settings.resolved_database_url)
    try:
        clock = SystemClock()
        await database.synchronise(clock)
        return await create_locally(database, name, clock.now())
    except MusterError as error:
        _stop(error.detail)
    finally:
        await database.close()


def _keep(settings: "Settings", token: str) -> Path:
    path = settings.data_dir / ADMIN_TOKEN_FILE
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{token}\n")
    return path


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _stop(text: str) -> NoReturn:
    _say(text)
    raise SystemExit(1)
