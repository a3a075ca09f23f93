"""The textbook service: FastAPI, and for each heartbeat its own session, SELECT, UPDATE and commit."""

import hashlib
import hmac
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from app.core import sqlite
from app.models import Host
from app.vocabulary import ConnectionState
from tests.bench.beats import PATH
from tests.bench.serving import port_parser, serve

POOL_SIZE = 10
COLUMNS = {
    "cpuPercentage": "cpu_percentage",
    "totalMemoryInBytes": "total_memory_bytes",
    "availableMemoryInBytes": "available_memory_bytes",
    "totalSpaceInBytes": "total_space_bytes",
    "availableSpaceInBytes": "available_space_bytes",
    "throughputInBytes": "throughput_bytes",
    "throughputUploadPendingDataInBytes": "pending_bytes",
}


class Heartbeat(BaseModel):
    """The body of a heartbeat."""

    boot_id: str = Field(alias="bootId")
    sequence: int
    agent_version: str = Field(alias="agentVersion")
    ip_addresses: list[str] = Field(alias="ipAddresses")
    observed_generation: int = Field(alias="observedGeneration")
    telemetry: dict[str, float]
    services: dict[str, str]


def make_engine(url: str) -> AsyncEngine:
    """Return an engine with a pool, as durable as Muster's own."""
    if not url.startswith("sqlite"):
        return create_async_engine(url, pool_size=POOL_SIZE, max_overflow=0)
    # One connection: SQLite has one writer, and queueing in the pool is fairer and faster than its lock.
    engine = create_async_engine(url, pool_size=1, max_overflow=0)

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in sqlite.pragmas():
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


async def session_of(request: Request) -> AsyncIterator[AsyncSession]:
    """Open a session for one request."""
    async with request.app.state.sessions() as session:
        yield session


def make_app(url: str) -> FastAPI:
    """Return the service on the database `url`."""
    app = FastAPI()
    app.state.sessions = async_sessionmaker(make_engine(url), expire_on_commit=False)

    @app.post(PATH)
    async def heartbeat(
        beat: Heartbeat,
        session: Annotated[AsyncSession, Depends(session_of)],
        authorization: Annotated[str, Header()],
    ) -> Response:
        identifier, _, secret = authorization.removeprefix("Bearer ").partition(".")
        host = await session.scalar(select(Host).where(Host.id == uuid.UUID(hex=identifier)))
        digest = hashlib.sha256(secret.encode()).digest()
        if host is None or not hmac.compare_digest(host.credential_hash or b"", digest):
            return JSONResponse({"detail": "unknown credential"}, status_code=401)
        now = datetime.now(UTC)  # noqa: TID251 - this service is not Muster
        host.boot_id = beat.boot_id
        host.sequence = beat.sequence
        host.last_heartbeat_at = now
        host.connection_state = ConnectionState.CONNECTED
        host.agent_version = beat.agent_version
        host.ip_addresses = beat.ip_addresses
        host.observed_generation = beat.observed_generation
        for member, column in COLUMNS.items():
            setattr(host, column, beat.telemetry.get(member))
        host.services = beat.services
        await session.commit()
        return JSONResponse({"serverTime": now.isoformat(), "nextHeartbeatSeconds": 30, "generation": host.generation})

    return app


if __name__ == "__main__":
    parser = port_parser(__doc__)
    parser.add_argument("--url", required=True)
    arguments = parser.parse_args()
    serve(make_app(arguments.url), arguments.port)
