"""Mail subscriptions over HTTP."""

from fastapi import APIRouter, Request, Response, status

from app.access.idempotency import Idempotent
from app.access.principals import Operator, Reader
from app.access.scope import VaultRef
from app.core.clock import Now
from app.core.db import ReadSession, WriteSession
from app.core.documentation import errors
from app.core.errors import (
    CursorUnreadable,
    IdempotencyKeyReused,
    MailNotConfigured,
    MailSubscriptionNotFound,
    PreconditionFailed,
    VaultNotFound,
)
from app.core.pagination import Paging
from app.core.preconditions import IfMatch, tagged
from app.core.settings import settings_of
from app.core.wire import Page
from app.mail_subscriptions import service
from app.mail_subscriptions.schemas import (
    MailSubscriptionCreate,
    MailSubscriptionId,
    MailSubscriptionUpdate,
    MailSubscriptionView,
)
from app.notifications.schemas import DeliveryOrder, DeliveryStates, DeliveryView, TestQueued

router = APIRouter(prefix="/api/v1/vaults/{vault}/mail-subscriptions", tags=["notifications"])


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    summary="Create a mail subscription",
    operation_id="createMailSubscription",
    responses=errors(VaultNotFound, MailNotConfigured, IdempotencyKeyReused, body=True),
)
async def create_mail_subscription(
    vault: VaultRef,
    body: MailSubscriptionCreate,
    request: Request,
    response: Response,
    principal: Operator,
    session: WriteSession,
    once: Idempotent,
    now: Now,
) -> MailSubscriptionView:
    """Mails the vault's events from now on to each recipient, by the server of `MUSTER_SMTP_HOST`."""

    async def create() -> MailSubscriptionView:
        view = await service.create(session, settings_of(request), principal, vault, body, now)
        response.headers["Location"] = f"/api/v1/vaults/{vault}/mail-subscriptions/{view.id}"
        return tagged(response, view)

    return await once(session, principal.actor, principal.secret, create)


@router.get(
    "",
    summary="List mail subscriptions",
    operation_id="listMailSubscriptions",
    responses=errors(VaultNotFound, CursorUnreadable),
)
async def list_mail_subscriptions(
    vault: VaultRef, principal: Reader, session: ReadSession, paging: Paging
) -> Page[MailSubscriptionView]:
    """Oldest first."""
    return await service.list_subscriptions(session, principal, vault, paging)


@router.get(
    "/{subscription}",
    summary="Read a mail subscription",
    operation_id="readMailSubscription",
    responses=errors(VaultNotFound, MailSubscriptionNotFound),
)
async def read_mail_subscription(
    vault: VaultRef, subscription: MailSubscriptionId, principal: Reader, session: ReadSession, response: Response
) -> MailSubscriptionView:
    """Whether it is enabled, and since when its mails fail, if they do."""
    return tagged(response, await service.read(session, principal, vault, subscription))


@router.patch(
    "/{subscription}",
    summary="Change a mail subscription",
    operation_id="updateMailSubscription",
    responses=errors(VaultNotFound, MailSubscriptionNotFound, PreconditionFailed, body=True),
)
async def update_mail_subscription(
    vault: VaultRef,
    subscription: MailSubscriptionId,
    body: MailSubscriptionUpdate,
    response: Response,
    principal: Operator,
    session: WriteSession,
    precondition: IfMatch,
    now: Now,
) -> MailSubscriptionView:
    """Fields left out stay. What waits for a recipient that is no longer named is given up."""
    changed = await service.update(session, principal, vault, subscription, body, precondition, now)
    return tagged(response, changed)


@router.delete(
    "/{subscription}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Delete a mail subscription",
    operation_id="deleteMailSubscription",
    responses=errors(VaultNotFound, MailSubscriptionNotFound, PreconditionFailed),
)
async def delete_mail_subscription(
    vault: VaultRef,
    subscription: MailSubscriptionId,
    principal: Operator,
    session: WriteSession,
    precondition: IfMatch,
    now: Now,
) -> None:
    """Its delivery log goes with it, and what waits to be sent."""
    await service.delete(session, principal, vault, subscription, precondition, now)


@router.get(
    "/{subscription}/deliveries",
    summary="List a mail subscription's deliveries",
    operation_id="listMailSubscriptionDeliveries",
    responses=errors(VaultNotFound, MailSubscriptionNotFound, CursorUnreadable),
)
async def list_mail_subscription_deliveries(
    vault: VaultRef,
    subscription: MailSubscriptionId,
    principal: Reader,
    session: ReadSession,
    paging: Paging,
    order_by: DeliveryOrder = "-createdAt",
    states: DeliveryStates = [],  # noqa: B006 - FastAPI copies it
) -> Page[DeliveryView]:
    """One entry for each mail to each recipient."""
    return await service.list_deliveries(session, principal, vault, subscription, paging, order_by, states)


@router.post(
    "/{subscription}/test",
    status_code=status.HTTP_202_ACCEPTED,
    summary="Send a test mail",
    operation_id="testMailSubscription",
    responses=errors(VaultNotFound, MailSubscriptionNotFound, MailNotConfigured, IdempotencyKeyReused),
)
async def test_mail_subscription(
    vault: VaultRef,
    subscription: MailSubscriptionId,
    request: Request,
    principal: Operator,
    session: WriteSession,
    once: Idempotent,
    now: Now,
) -> TestQueued:
    """One attempt for each recipient within seconds; the delivery log has the outcome."""
    return await once(
        session,
        principal.actor,
        principal.secret,
        lambda: service.queue_test(session, principal, vault, subscription, settings_of(request), now),
    )
