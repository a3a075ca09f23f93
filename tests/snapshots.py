"""`./dev check`: what must not change by accident. `./dev snapshot` writes the snapshots anew.

openapi.json is the contract with clients, endpoints.txt its table of contents; migrations must lead to
exactly the tables that the models describe.
"""

import asyncio
import difflib
import json
import sys
import tempfile
from pathlib import Path

from app.core import migrations
from app.core.db import Database
from app.core.settings import Settings
from app.main import create_app
from app.models import Base
from tests.support.postgres import PostgresServer

FOLDER = Path(__file__).parent / "contract"
SHOWN_LINES = 60


def current() -> dict[str, str]:
    """Each snapshot's file name and present content."""
    with tempfile.TemporaryDirectory() as folder:
        document = create_app(Settings(data_dir=Path(folder))).api.openapi()
    endpoints = [
        f"{method.upper():6} {path}  {operation['operationId']}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    return {
        "openapi.json": json.dumps(document, indent=1, ensure_ascii=False) + "\n",
        "endpoints.txt": "\n".join(sorted(endpoints, key=lambda line: line.split()[1:])) + "\n",
    }


def write() -> int:
    """Write the snapshots."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in current().items():
        (FOLDER / name).write_text(content, encoding="utf-8")
        print(f"wrote {name}")
    return 0


def check() -> int:
    """Compare the snapshots and the migrations. Returns the exit code."""
    return int(_snapshots_differ() | _migrations_drift())


def _snapshots_differ() -> bool:
    differs = False
    for name, content in current().items():
        path = FOLDER / name
        kept = path.read_text(encoding="utf-8") if path.exists() else ""
        if kept == content:
            print(f"{name} agrees")
            continue
        differs = True
        lines = list(difflib.unified_diff(kept.splitlines(), content.splitlines(), "kept", "present", lineterm=""))
        print("\n".join(lines[:SHOWN_LINES]))
        print(f"{name} differs; if that is meant, run ./dev snapshot and say so in the CHANGELOG")
    return differs


def _migrations_drift() -> bool:
    with tempfile.TemporaryDirectory() as folder, PostgresServer.start(fsync=False) as server:
        urls = [f"sqlite+aiosqlite:///{folder}/drift.db", server.create_database("drift")]
        found = [(url.split(":")[0], asyncio.run(_drift(url))) for url in urls]
    for kind, differences in found:
        print(f"{kind}: migrations and models {'differ: ' + repr(differences) if differences else 'agree'}")
    return any(differences for _, differences in found)


async def _drift(url: str) -> list[object]:
    database = Database(url)
    try:
        await migrations.upgrade(database)
        return await migrations.drift(database, Base.metadata)
    finally:
        await database.close()


if __name__ == "__main__":
    sys.exit({"write": write, "check": check}[sys.argv[1]]())
