"""The part of the seed's story that tells of webhooks, mail and expiry, so that each of their events occurs."""

from datetime import datetime, timedelta

from sqlalchemy import update

from app.core.db import Database
from app.models import ConfigurationServer, EventCounter, NotificationChannel, NotificationDelivery
from app.notifications.senders import Outcome, failed
from app.vocabulary import ChannelKind
from tests.support.muster import Site

VAULT = "/api/v1/vaults/contoso"


class _Gone:
    """A receiver that is gone for good."""

    async def send(self, channel: NotificationChannel, delivery: NotificationDelivery, now: datetime) -> Outcome:
        return failed("gone", is_final=True, is_gone=True)

    async def close(self) -> None:
        """Nothing is open."""


async def tell(site: Site, version: str) -> None:
    """Every event of notifications occurs. The vault has servers on `version`, which is no release yet."""
    state, database = site.app.state, site.app.state.database
    told = {"smtp_host": "mail.example", "smtp_from": "muster@example.com", "digest_window_seconds": 0}
    state.settings = state.dispatcher._settings = state.settings.model_copy(update=told)
    senders, kept = state.senders, dict(state.senders)
    for resource, body in (
        ("webhooks", {"url": "https://93.184.215.14/hook"}),
        ("mail-subscriptions", {"recipients": ["ops@example.com"], "minimumSeverity": "Information"}),
    ):
        path = f"{VAULT}/{resource}"
        first, second = [(await site.client.post(path, json=body)).json() for _ in range(2)]
        if resource == "webhooks":
            assert (await site.client.post(f"{path}/{first['id']}/rotate-secret")).status_code == 200
        assert (await site.client.patch(f"{path}/{first['id']}", json={"enabled": False})).status_code == 200
        assert (await site.client.delete(f"{path}/{second['id']}")).status_code == 204
        assert (await site.client.patch(f"{path}/{first['id']}", json={"enabled": True})).status_code == 200
        senders |= dict.fromkeys(ChannelKind, _Gone())
        await _overtake(site, database)
        await state.dispatcher.tick()  # what was missed goes on record
        await state.dispatcher.tick()  # and that is told
        await state.deliverer.tick()
        await _overtake(site, database, back=True)
        senders |= kept
    async with database.write() as session:
        soon = site.clock.now() + timedelta(days=30)
        await session.execute(update(ConfigurationServer).values(certificate_expires_at=soon))
    release = {"version": version, "supportEndsOn": soon.date().isoformat()}
    assert (await site.client.post("/api/v1/releases", json=release)).status_code == 201
    assert await state.expiry_notices.tick() == 3


async def _overtake(site: Site, database: Database, *, back: bool = False) -> None:
    """Have retention reach the last event of every vault, or take that back."""
    async with database.write() as session:
        oldest = 1 if back else EventCounter.last_sequence + 1
        await session.execute(update(EventCounter).values(oldest_kept=oldest))
