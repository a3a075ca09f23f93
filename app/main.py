"""The application: explicit lists of routers and background tasks, put together by `create_app`."""

import contextlib
import gc
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app import __version__
from app.access.failures import Failures
from app.access.usage import TokenUsage
from app.alerts import routes as alerts
from app.balancing import rebalance_routes as rebalance
from app.balancing import switching_routes as switching
from app.brakes import routes as brakes
from app.capacity import routes as capacity
from app.configuration_servers import routes as configuration_servers
from app.configuration_servers.tasks import Renewals
from app.connection.tasks import Monitor
from app.core import log as logs
from app.core import openapi, problems
from app.core.asgi import BodyLimit, RequestContext
from app.core.background import Background, BackgroundTask
from app.core.clock import Clock, SystemClock
from app.core.db import Database
from app.core.errors import Unavailable
from app.core.leadership import Leadership
from app.core.metrics import CLOCK_CORRECTION
from app.core.sealing import Sealer
from app.core.secrets import PassphraseHasher
from app.core.settings import Settings, load_settings
from app.core.stopping import announced_stop
from app.core.tracing import NO_TELEMETRY, Tracing
from app.decommission import routes as decommission
from app.events import routes as events
from app.events.hub import TICK_SECONDS, EventHub
from app.expiry.tasks import ExpiryNotices
from app.health import routes as health
from app.health.tasks import AlertSweep
from app.heartbeats import routes as heartbeats
from app.heartbeats.committer import Committer
from app.heartbeats.lane import Fleet, HeartbeatLane
from app.heartbeats.writers import writers_for
from app.jobs import routes as jobs
from app.jobs.tasks import Orphans
from app.lifecycle import routes as purges
from app.lifecycle.bulk import BulkPurges
from app.mail_subscriptions import routes as mail_subscriptions
from app.mail_subscriptions.sender import MailSender
from app.notifications.attempts import Attempts
from app.notifications.senders import Sender
from app.notifications.tasks import Deliverer, DeliveryRetention, Dispatcher
from app.onboarding import routes as onboarding
from app.onboarding.depot import Depot
from app.operations import exposition, pool
from app.operations import routes as operations
from app.operations.census import Census
from app.operations.tasks import FleetCount, Housekeeping
from app.process_servers import routes as process_servers
from app.process_servers.tasks import MaintenanceEnds
from app.registration_keys import routes as registration_keys
from app.sizing import routes as sizing
from app.source_machines import routes as source_machines
from app.source_machines.imports import routes as source_machine_imports
from app.tokens import routes as tokens
from app.upgrades import routes as upgrades
from app.vaults import routes as vaults
from app.versions import routes as versions
from app.vocabulary import ChannelKind
from app.webhooks import routes as webhooks
from app.webhooks.sender import WebhookSender
from app.webhooks.targets import Targets

MONITOR_LEADER_KEY = 0x6D75_7374_0001
STRICT_CONTENT_TYPE = False
ROUTERS: list[APIRouter] = [
    vaults.router,
    registration_keys.router,
    configuration_servers.router,
    process_servers.router,
    decommission.router,
    purges.router,
    source_machines.router,
    switching.router,
    rebalance.router,
    source_machines.vault_router,
    source_machine_imports.router,
    onboarding.router,
    upgrades.router,
    versions.router,
    sizing.router,
    capacity.router,
    alerts.router,
    health.router,
    events.router,
    jobs.router,
    webhooks.router,
    mail_subscriptions.router,
    brakes.router,
    tokens.router,
    configuration_servers.agent_router,
    process_servers.agent_router,
    decommission.agent_router,
    heartbeats.router,
    onboarding.downloads_router,
    operations.router,
]
# Every application of a process has these same routes, which keep nothing of any: the framework works out the
# parameters of all operations at the first request, and that takes longer than the rest of `create_app`.
SHARED = APIRouter(strict_content_type=STRICT_CONTENT_TYPE)
for _router in ROUTERS:
    SHARED.include_router(_router)
log = structlog.get_logger("muster.main")


class Muster(HeartbeatLane):
    """The ASGI application: the heartbeat lane, then FastAPI. `state` holds what a process has once."""

    def __init__(self, api: FastAPI, entry: ASGIApp) -> None:
        self.api = api
        self.state: Any = api.state
        super().__init__(entry, self.state.committer, self.state.fleet)

    def lifespan(self) -> contextlib.AbstractAsyncContextManager[Any]:
        """Start and stop, for those who serve the application without a server (tests)."""
        return self.api.router.lifespan_context(self.api)


def create_app(settings: Settings | None = None, clock: Clock | None = None, *, runs_tasks: bool = True) -> Muster:
    """Put the application together. Tests bring a manual clock and tick the tasks themselves."""
    settings = settings or load_settings()
    clock = clock or SystemClock()
    database = Database(settings.resolved_database_url, pool_size=settings.database_pool_size)
    tracing = Tracing(settings) if settings.tracing else None
    api = FastAPI(
        title="Muster",
        version=__version__,
        summary="Open control plane for scale-out process servers",
        description=openapi.DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        strict_content_type=STRICT_CONTENT_TYPE,
        lifespan=_lifespan,
        openapi_tags=openapi.TAGS,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        telemetry=tracing.of_requests if tracing else NO_TELEMETRY,
        routes=SHARED.routes,
    )
    state = api.state
    state.settings, state.clock, state.database, state.tracing = settings, clock, database, tracing
    pool.watch(database.engine)
    if tracing:
        tracing.watch(database.engine)
    state.hasher = PassphraseHasher()
    state.failures = Failures(database, settings.registration_failure_window_seconds)
    state.token_usage = TokenUsage(database, clock)
    state.fleet = Fleet(settings)
    state.depot = Depot()
    state.committer = Committer(
        database, writers_for(database, timedelta(seconds=settings.heartbeat_timeout_seconds)), clock, settings
    )
    state.event_hub = EventHub(database, clock)
    state.leadership = Leadership(database, MONITOR_LEADER_KEY, "monitor")
    state.monitor = Monitor(database, clock, settings, state.leadership)
    state.census = Census(clock, settings)
    state.alert_sweep = AlertSweep(database, clock, settings, state.leadership)
    state.housekeeping = Housekeeping(database, clock, settings, state.failures)
    state.sealer = Sealer(settings)
    state.targets = Targets(settings)
    senders: dict[ChannelKind, Sender] = {
        ChannelKind.WEBHOOK: WebhookSender(settings, state.sealer, state.targets),
        ChannelKind.MAIL: MailSender(settings),
    }
    state.senders = senders
    state.dispatcher = Dispatcher(database, clock, settings)
    state.deliverer = Deliverer(database, clock, Attempts(database, clock, settings, senders))
    state.expiry_notices = ExpiryNotices(database, clock)
    state.delivery_retention = DeliveryRetention(database, clock, settings)
    state.background = Background(_tasks(state) if runs_tasks else [])
    operations.install_documentation_pages(api)
    openapi.install(api)
    problems.install(api)
    # Inside of the framework, so that a request's log line and metrics are part of its trace.
    limits = {source_machine_imports.SEGMENT: settings.max_import_bytes}
    api.add_middleware(BodyLimit, limit=settings.max_body_bytes, limits=limits)
    api.add_middleware(RequestContext)
    # Here and not in the server, so that heartbeats, which have no use for the client's address, pass by it.
    entry = ProxyHeadersMiddleware(api, settings.forwarded_allow_ips)  # type: ignore[arg-type]
    return Muster(api, entry)  # type: ignore[arg-type]


def served() -> Muster:
    """What `muster serve` hands to the server: settings from the environment, logs configured."""
    settings = load_settings()
    logs.configure(settings.log_format, settings.log_level)
    return create_app(settings)


def _tasks(state: Any) -> list[BackgroundTask]:
    settings: Settings = state.settings
    clock: Clock = state.clock

    async def synchronise() -> None:
        if isinstance(clock, SystemClock):
            CLOCK_CORRECTION.set(abs(await state.database.synchronise(clock)))

    async def watch() -> None:
        # One after the other: both ask for the lead over its one connection.
        await state.monitor.tick()
        await state.alert_sweep.tick()

    return [
        BackgroundTask("clock", 60, synchronise, clock),
        BackgroundTask("monitor", settings.effective_tick_seconds, watch, clock),
        BackgroundTask("fleet count", 60, FleetCount(state.database, state.fleet).tick, clock),
        BackgroundTask("event streams", TICK_SECONDS, state.event_hub.tick, clock),
        BackgroundTask("token usage", 15, state.token_usage.flush, clock),
        BackgroundTask("renewals", 2, Renewals(state.database, clock).tick, clock),
        BackgroundTask("orphaned jobs", 30, Orphans(state.database, clock).tick, clock),
        BackgroundTask("maintenance ends", 15, MaintenanceEnds(state.database, clock).tick, clock),
        BackgroundTask("bulk purges", 2, BulkPurges(state.database, clock).tick, clock),
        BackgroundTask("dispatch", 2, state.dispatcher.tick, clock),
        BackgroundTask("delivery", 2, state.deliverer.tick, clock),
        BackgroundTask("expiry notices", 900, state.expiry_notices.tick, clock),
        BackgroundTask("delivery retention", 600, state.delivery_retention.tick, clock),
        BackgroundTask("housekeeping", 600, state.housekeeping.tick, clock),
    ]


@contextlib.asynccontextmanager
async def _lifespan(api: FastAPI) -> AsyncIterator[None]:
    state = api.state
    if isinstance(state.clock, SystemClock):
        # Before anything is judged by it. An unreachable database is not the end: /readyz says so meanwhile.
        with contextlib.suppress(Unavailable):
            await state.database.synchronise(state.clock)
    exposition.process_started(state.database, state.clock, state.settings)
    state.background.start()
    if state.background.tasks:
        # What was built until here lives as long as the process; leaving it out of collections halves the p99.
        # An application without tasks is one of several in its process, and is to be collected when it has ended.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 50, 50)
    try:
        with announced_stop(state.event_hub.stop):
            yield
    finally:
        await state.event_hub.close()
        await state.background.stop()
        await state.committer.stop()
        for sender in state.senders.values():
            await sender.close()
        with contextlib.suppress(Unavailable):
            await state.token_usage.flush()
        await state.leadership.close()
        await state.database.close()
        if state.tracing:
            await state.tracing.stop()
        exposition.process_ended()
        log.info("stopped")
