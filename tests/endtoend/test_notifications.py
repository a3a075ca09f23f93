"""A process that is killed between the commit of an event and its delivery."""

import asyncio
from pathlib import Path

from tests.support.receiver import receiving
from tests.support.server import MusterServer

WINDOW_SECONDS = 4
PATIENCE_SECONDS = 60


async def test_what_a_killed_process_owed_is_sent_by_the_next(tmp_path: Path) -> None:
    settings = {
        "webhook_allowed_networks": "127.0.0.0/8",
        "webhook_allow_http": "true",
        "digest_window_seconds": WINDOW_SECONDS,
    }
    server = MusterServer(tmp_path, **settings)
    await asyncio.to_thread(server.start)
    try:
        async with receiving() as receiver:
            async with server.client() as client:
                (await client.post("/api/v1/vaults", json={"name": "contoso", "location": "weu"})).raise_for_status()
                body = {"url": receiver.url, "eventTypes": ["registration-key."]}
                (await client.post("/api/v1/vaults/contoso/webhooks", json=body)).raise_for_status()
                for _ in range(3):
                    (await client.post("/api/v1/vaults/contoso/registration-keys")).raise_for_status()
            await asyncio.to_thread(server.kill)
            assert receiver.requests == [], "killed within the window: committed, and not yet sent"
            await asyncio.to_thread(server.start)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await receiver.wait_for(3)
            assert sorted(receiver.sequences) == [3, 4, 5]
            assert len({request.id for request in receiver.requests}) == 3
    finally:
        await asyncio.to_thread(server.stop)
