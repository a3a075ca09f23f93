"""Sites whose webhooks may reach this machine, and the calls that tests of notifications begin with."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from app.core.clock import Clock
from tests.support.muster import Site, new_site

VAULT = "/api/v1/vaults/contoso"
WEBHOOKS = f"{VAULT}/webhooks"
MAILS = f"{VAULT}/mail-subscriptions"
HERE: dict[str, Any] = {
    "webhook_allowed_networks": "127.0.0.0/8",
    "webhook_allow_http": True,
    "digest_window_seconds": 0,
}


@contextlib.asynccontextmanager
async def notifying_site(database_url: str, clock: Clock, data_dir: Path, **settings: Any) -> AsyncIterator[Site]:
    """A site that may send to loopback, at once."""
    async with new_site(database_url, clock, data_dir, **{**HERE, **settings}) as site:
        yield site


async def webhook(site: Site, url: str, **members: Any) -> dict[str, Any]:
    """A new webhook of contoso: the answer to its creation, secret and all."""
    answer = await site.client.post(WEBHOOKS, json={"url": url, **members})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def read(site: Site, created: dict[str, Any], resource: str = WEBHOOKS) -> dict[str, Any]:
    """A webhook or mail subscription as it is now."""
    answer = await site.client.get(f"{resource}/{created['id']}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def deliveries(site: Site, created: dict[str, Any], resource: str = WEBHOOKS, **query: Any) -> list[Any]:
    """The delivery log, oldest first."""
    return await site.walk(f"{resource}/{created['id']}/deliveries", orderBy="createdAt", **query)


async def dispatch(site: Site) -> int:
    """Events become deliveries. Returns how many."""
    return int(await site.app.state.dispatcher.tick())


async def send(site: Site) -> int:
    """What is due is sent. Returns how many attempts were made."""
    return int(await site.app.state.deliverer.tick())


async def notify(site: Site) -> int:
    """Both."""
    await dispatch(site)
    return await send(site)


async def happen(site: Site, count: int = 1) -> None:
    """That many harmless events in contoso: `registration-key.created`."""
    for _ in range(count):
        await site.registration_key()
