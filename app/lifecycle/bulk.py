"""Purging disconnected process servers by the thousand: dry run first, then a job in small transactions."""

import uuid
from collections import Counter
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal
from app.access.scope import vault_in_scope
from app.core.clock import Clock
from app.core.db import Database
from app.core.errors import Conflict, Invalid
from app.events.service import Resource
from app.hosts.tombstones import Removal
from app.jobs import service as jobs
from app.jobs.schemas import JobView
from app.lifecycle import purge, queries
from app.lifecycle.queries import BulkFilter
from app.lifecycle.rules import blockers_of
from app.lifecycle.schemas import MAX_BULK_SAMPLE, BulkPurgePreview, BulkPurgeRequest
from app.models import Job, Vault
from app.vocabulary import JobType, ResourceKind

SERVERS_PER_TRANSACTION = 200


def _filter_of(vault_id: uuid.UUID, body: BulkPurgeRequest, now: datetime) -> BulkFilter:
    return BulkFilter(
        vault_id=vault_id,
        configuration_server=body.configuration_server,
        kind=body.kind,
        q=body.q,
        silent_before=now - timedelta(seconds=body.disconnected_for_seconds),
    )


async def dry_run(
    session: AsyncSession, principal: Principal, vault_ref: str, body: BulkPurgeRequest, now: datetime
) -> BulkPurgePreview:
    """What a bulk purge would do."""
    vault = await vault_in_scope(session, principal, vault_ref)
    return await _survey(session, _filter_of(vault.id, body, now))


async def _survey(session: AsyncSession, wanted: BulkFilter) -> BulkPurgePreview:
    matched = purgeable = 0
    blocked: Counter[str] = Counter()
    sample: list[str] = []
    after: uuid.UUID | None = None
    gone_before: Counter[uuid.UUID] = Counter()
    while servers := await queries.bulk_candidates(session, wanted, after, SERVERS_PER_TRANSACTION):
        after = servers[-1].id
        hosts = await queries.hosts_of(session, [server.host_row_id for server in servers])
        rows = [(server, hosts[server.host_row_id]) for server in servers]
        for one in await purge.examine(session, rows, has_target=False):
            matched += 1
            site = one.server.configuration_server_id
            facts = one.facts._replace(other_servers=one.facts.other_servers - gone_before[site])
            blockers = blockers_of(facts)
            blocked.update(blocker.code.value for blocker in blockers)
            if blockers:
                continue
            gone_before[site] += 1
            purgeable += 1
            if len(sample) < MAX_BULK_SAMPLE:
                sample.append(one.server.name)
    return BulkPurgePreview(matched=matched, purgeable=purgeable, blocked=dict(sorted(blocked.items())), sample=sample)


async def start(
    session: AsyncSession, principal: Principal, vault_ref: str, body: BulkPurgeRequest, now: datetime
) -> JobView:
    """Queue a bulk purge of exactly what a dry run showed.

    Raises Invalid without `expected`, Conflict when the number is no longer right.
    """
    if body.expected is None:
        detail = "is required with dryRun=false: give the number that the dry run called purgeable"
        raise Invalid(f"expected {detail}", [{"pointer": "#/expected", "detail": detail}])
    vault: Vault = await vault_in_scope(session, principal, vault_ref, for_update=True)
    wanted = _filter_of(vault.id, body, now)
    survey = await _survey(session, wanted)
    if survey.purgeable != body.expected:
        raise Conflict(
            f"the dry run found {body.expected} process servers to purge, now there are {survey.purgeable}; "
            "look at the dry run again",
            purgeable=survey.purgeable,
        )
    job = await jobs.create(
        session,
        vault_id=vault.id,
        type=JobType.PURGE,
        resource=Resource(ResourceKind.VAULT, vault.id, vault.name),
        requested_by=principal.actor,
        now=now,
        details={
            "configurationServer": body.configuration_server,
            "kind": body.kind,
            "q": body.q,
            "silentBefore": wanted.silent_before.isoformat(),
            "reason": body.reason or purge.DEFAULT_REASON,
            "expected": body.expected,
            "purged": 0,
            "skipped": {},
            "after": None,
        },
    )
    return jobs.view_of(job)


class BulkPurges:
    """Carries out bulk purges, a batch a transaction; a restart goes on where the last one ended."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def tick(self) -> int:
        """Work until no bulk purge is left that nobody else works on. Returns how many servers were purged."""
        purged = 0
        while True:
            async with self._database.write() as session:
                job = await queries.claim_bulk_job(session)
                if job is None:
                    return purged
                purged += await _advance(session, job, self._clock.now())


async def _advance(session: AsyncSession, job: Job, now: datetime) -> int:
    """One batch of a bulk purge."""
    details = dict(job.details)
    wanted = BulkFilter(
        vault_id=job.vault_id,
        configuration_server=details["configurationServer"],
        kind=details["kind"],
        q=details["q"],
        silent_before=datetime.fromisoformat(details["silentBefore"]),
    )
    after = None if details["after"] is None else uuid.UUID(details["after"])
    servers = await queries.bulk_candidates(session, wanted, after, SERVERS_PER_TRANSACTION)
    if not servers:
        jobs.finish(job, now)
        return 0
    details["after"] = str(servers[-1].id)
    # Judged again under locks, whole: a server that came back, or got machines meanwhile, stays.
    examined = await purge.examine(session, await purge.lock(session, servers), has_target=False)
    skipped: Counter[str] = Counter(details["skipped"])
    going: list[purge.Doomed] = []
    gone: Counter[uuid.UUID] = Counter()
    for one in examined:
        site = one.server.configuration_server_id
        blockers = blockers_of(one.facts._replace(other_servers=one.facts.other_servers - gone[site]))
        if blockers:
            skipped.update({blockers[0].code.value: 1})
        else:
            gone[site] += 1
            going.append(one)
    if going:
        await purge.remove(session, going, Removal(job.requested_by, now, details["reason"]), {"job": str(job.id)})
    details["purged"] += len(going)
    details["skipped"] = dict(skipped)
    job.details = details
    done = details["purged"] + skipped.total()
    jobs.advance(job, now, min(99, 100 * done // max(details["expected"], 1)))
    return len(going)
