"""Webhooks over HTTP."""

from fastapi import APIRouter, Request, Response, status

from app.access.idempotency import Idempotent
from app.access.principals import Operator, Reader
from app.access.scope import VaultRef
from app.core.clock import Now
from app.core.db import ReadSession, WriteSession, database_of
from app.core.documentation import errors
from app.core.errors import (
    CursorUnreadable,
    IdempotencyKeyReused,
    PreconditionFailed,
    SecretKeyUnavailable,
    VaultNotFound,
    WebhookNotFound,
)
from app.core.pagination import Paging
from app.core.preconditions import IfMatch, tagged
from app.core.settings import settings_of
from app.core.wire import Page
from app.notifications.schemas import DeliveryOrder, DeliveryStates, DeliveryView, TestQueued
from app.webhooks import service
from app.webhooks.schemas import (
    SecretRotation,
    WebhookCreate,
    WebhookId,
    WebhookIssued,
    WebhookUpdate,
    WebhookView,
)
from app.webhooks.targets import Targets

router = APIRouter(prefix="/api/v1/vaults/{vault}/webhooks", tags=["notifications"])


def _targets(request: Request) -> Targets:
    targets: Targets = request.app.state.targets
    return targets


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    summary="Create a webhook",
    operation_id="createWebhook",
    responses=errors(VaultNotFound, IdempotencyKeyReused, SecretKeyUnavailable, body=True),
)
async def create_webhook(
    vault: VaultRef,
    body: WebhookCreate,
    request: Request,
    response: Response,
    principal: Operator,
    once: Idempotent,
    now: Now,
) -> WebhookIssued:
    """Tells `url` of the vault's events from now on. The secret that signs them is in this answer alone."""
    url, sealer = await _targets(request).checked_url(body.url), request.app.state.sealer

    async def create() -> WebhookIssued:
        issued = await service.create(session, sealer, principal, vault, body, url, now)
        response.headers["Location"] = f"/api/v1/vaults/{vault}/webhooks/{issued.id}"
        return tagged(response, issued)

    # Opened here, after the URL was checked: no transaction waits for the network.
    async with database_of(request).write() as session:
        return await once(session, principal.actor, principal.secret, create)


@router.get(
    "",
    summary="List webhooks",
    operation_id="listWebhooks",
    responses=errors(VaultNotFound, CursorUnreadable),
)
async def list_webhooks(
    vault: VaultRef, principal: Reader, session: ReadSession, paging: Paging, now: Now
) -> Page[WebhookView]:
    """Without their secrets, oldest first."""
    return await service.list_webhooks(session, principal, vault, paging, now)


@router.get(
    "/{webhook}",
    summary="Read a webhook",
    operation_id="readWebhook",
    responses=errors(VaultNotFound, WebhookNotFound),
)
async def read_webhook(
    vault: VaultRef, webhook: WebhookId, principal: Reader, session: ReadSession, now: Now, response: Response
) -> WebhookView:
    """Whether it is enabled, and since when it fails, if it does."""
    return tagged(response, await service.read(session, principal, vault, webhook, now))


@router.patch(
    "/{webhook}",
    summary="Change a webhook",
    operation_id="updateWebhook",
    responses=errors(VaultNotFound, WebhookNotFound, PreconditionFailed, body=True),
)
async def update_webhook(
    vault: VaultRef,
    webhook: WebhookId,
    body: WebhookUpdate,
    request: Request,
    response: Response,
    principal: Operator,
    precondition: IfMatch,
    now: Now,
) -> WebhookView:
    """Fields left out stay. Disabling gives up what waits; enabling begins with the events from then on."""
    url = None if body.url is None else await _targets(request).checked_url(body.url)
    async with database_of(request).write() as session:
        changed = await service.update(session, principal, vault, webhook, body, url, precondition, now)
    return tagged(response, changed)


@router.delete(
    "/{webhook}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Delete a webhook",
    operation_id="deleteWebhook",
    responses=errors(VaultNotFound, WebhookNotFound, PreconditionFailed),
)
async def delete_webhook(
    vault: VaultRef, webhook: WebhookId, principal: Operator, session: WriteSession, precondition: IfMatch, now: Now
) -> None:
    """Its delivery log goes with it, and what waits to be sent."""
    await service.delete(session, principal, vault, webhook, precondition, now)


@router.get(
    "/{webhook}/deliveries",
    summary="List a webhook's deliveries",
    operation_id="listWebhookDeliveries",
    responses=errors(VaultNotFound, WebhookNotFound, CursorUnreadable),
)
async def list_webhook_deliveries(
    vault: VaultRef,
    webhook: WebhookId,
    principal: Reader,
    session: ReadSession,
    paging: Paging,
    order_by: DeliveryOrder = "-createdAt",
    states: DeliveryStates = [],  # noqa: B006 - FastAPI copies it
) -> Page[DeliveryView]:
    """What was sent, what waits, what failed and why. Ended ones stay for `MUSTER_DELIVERY_RETENTION_DAYS`."""
    return await service.list_deliveries(session, principal, vault, webhook, paging, order_by, states)


@router.post(
    "/{webhook}/test",
    status_code=status.HTTP_202_ACCEPTED,
    summary="Send a test to a webhook",
    operation_id="testWebhook",
    responses=errors(VaultNotFound, WebhookNotFound, IdempotencyKeyReused),
)
async def test_webhook(
    vault: VaultRef,
    webhook: WebhookId,
    request: Request,
    principal: Operator,
    session: WriteSession,
    once: Idempotent,
    now: Now,
) -> TestQueued:
    """One attempt within seconds, to a disabled webhook too; the delivery log has its outcome."""
    return await once(
        session,
        principal.actor,
        principal.secret,
        lambda: service.queue_test(session, principal, vault, webhook, settings_of(request), now),
    )


@router.post(
    "/{webhook}/rotate-secret",
    summary="Replace a webhook's secret",
    operation_id="rotateWebhookSecret",
    responses=errors(VaultNotFound, WebhookNotFound, IdempotencyKeyReused, SecretKeyUnavailable, body=True),
)
async def rotate_webhook_secret(
    vault: VaultRef,
    webhook: WebhookId,
    request: Request,
    response: Response,
    principal: Operator,
    session: WriteSession,
    once: Idempotent,
    now: Now,
    body: SecretRotation | None = None,
) -> WebhookIssued:
    """Shown once. The old secret signs beside the new one for `graceSeconds`, so that receivers can follow."""

    async def rotate() -> WebhookIssued:
        sealer, wanted = request.app.state.sealer, body or SecretRotation()
        return tagged(response, await service.rotate_secret(session, sealer, principal, vault, webhook, wanted, now))

    return await once(session, principal.actor, principal.secret, rotate)
