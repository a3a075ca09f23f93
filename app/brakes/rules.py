"""When many servers fall silent at once: pure, no database, no clock.

**What engages a brake.** A server is one machine with an agent; a configuration server and its inbuilt process server
are one. A site that loses its link does not reach the timeout in one moment: its servers were last heard of at any
time within one heartbeat interval, so the first is overdue when the last still has an interval to go. To tell a
hundred from one, the first must be judged together with those that will follow it. So when a server is overdue, all
servers of its configuration server and its vault count as *silent* that were last heard of at most a window after the
moment the timeout reaches back to, that is: whose silence is longer than the timeout less the window. The window must
be longer than an interval, so that the whole site is in it, and so short that nobody is in it who merely missed
heartbeats. An interval is a fifth of the timeout at most, the window a third of it at most: who counts as silent has
missed three heartbeats of the longest interval in a row, and twenty of the usual one.

Looking ahead from the first overdue server misses no window and needs no memory: of the servers that fall silent in
any window, the first to be overdue sees all the others. The share is that of the servers which were *connected* in the
window; one that connected after it can't have fallen silent in it and does not count.

A brake takes a configuration server as its scope, or the whole vault where that has lost the share across several
configuration servers. For that a configuration server takes part when it has lost at least half of the share itself:
one server that dies in a large site while another site is cut off does not make the cut a matter of the vault. Either
the vault or its configuration servers engage, so that there is one alert.

**The course of a brake.**

    Holding ── acknowledged, or `until` reached ──► LettingGo ── nobody is left ──► Over
       └────────── nobody is held any more ──────────────────────────────────────────►

While it holds, every server of its scope that is overdue becomes `Unknown` instead of `Disconnected` and stays so until
it sends a heartbeat. While it lets go, those that are left become `Disconnected` at a limited rate, the longest silent
first. Servers that were silent when it engaged but not yet overdue join until `joins_until`, even when it was
acknowledged before, so that one loss is one alert.

The invariant: **it can't stick.** `until` is set when it engages and nothing moves it away but time in which the
control plane itself watched nobody; it is never further ahead than the longest hold, not even after the clock was set
back. Each look that finds a release due releases at least one server, and a release is due at the latest one pause
(60 s by the rate) after the last. Brakes of one scope let go one after another, so the rate is the scope's. So a server
is held for at most the hold, and then one pause for each server before it. It is held once for one silence: released it
is `Disconnected`, and only a server that is connected can be held.
"""

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from app.vocabulary import BrakeRelease, BrakeState, ResourceKind


class Policy(NamedTuple):
    """When a brake engages and how it lets go."""

    share_percentage: float
    """Of the connected servers, above 0 up to 100."""
    minimum: int
    """Servers."""
    window: timedelta
    hold: timedelta
    releases_per_minute: float
    slack: timedelta
    """How late a look may come, two ticks of the monitor; longer pauses earn no releases."""

    @property
    def pause(self) -> timedelta:
        """Between two releases of one scope."""
        return timedelta(seconds=60 / self.releases_per_minute)


class Tally(NamedTuple):
    """The servers of one configuration server, counted at one look."""

    vault_id: uuid.UUID
    configuration_server_id: uuid.UUID
    connected: int
    """Connected in the window, the silent ones included."""
    silent: int
    """Of these, fell silent in the window."""
    overdue: int
    """Of these, silent for the timeout already."""


class Engagement(NamedTuple):
    """A scope that fell silent at once."""

    kind: ResourceKind
    scope_id: uuid.UUID
    vault_id: uuid.UUID
    connected: int
    silent: int
    sites: list[Tally]
    """Its configuration servers that have silent servers, the most silent first."""


def engagements(tallies: Iterable[Tally], policy: Policy) -> list[Engagement]:
    """The scopes that engage a brake. Nothing does where nobody is overdue yet."""
    by_vault: dict[uuid.UUID, list[Tally]] = {}
    for tally in tallies:
        by_vault.setdefault(tally.vault_id, []).append(tally)
    found: list[Engagement] = []
    for vault_id, sites in sorted(by_vault.items()):
        whole = _engagement(ResourceKind.VAULT, vault_id, sites)
        takes_part = [site for site in sites if site.silent and _reaches(site, policy.share_percentage / 2)]
        if len(takes_part) > 1 and _is_mass(whole, sites, policy):
            found.append(whole)
            continue
        for site in sorted(sites, key=lambda site: site.configuration_server_id):
            alone = _engagement(ResourceKind.CONFIGURATION_SERVER, site.configuration_server_id, [site])
            if _is_mass(alone, [site], policy):
                found.append(alone)
    return found


def _engagement(kind: ResourceKind, scope_id: uuid.UUID, sites: list[Tally]) -> Engagement:
    hit = sorted((site for site in sites if site.silent), key=lambda site: (-site.silent, site.configuration_server_id))
    connected, silent = sum(site.connected for site in sites), sum(site.silent for site in sites)
    return Engagement(kind, scope_id, sites[0].vault_id, connected, silent, hit)


def _reaches(counted: Tally | Engagement, share_percentage: float) -> bool:
    return 100 * counted.silent >= share_percentage * counted.connected


def _is_mass(whole: Engagement, sites: list[Tally], policy: Policy) -> bool:
    is_due = any(site.overdue for site in sites)
    return is_due and whole.silent >= policy.minimum and _reaches(whole, policy.share_percentage)


class Course(NamedTuple):
    """How far one brake has come."""

    engaged_at: datetime
    joins_until: datetime
    """Until then servers of its scope join that were silent already when it engaged."""
    until: datetime
    """When it lets go by itself."""
    let_go_at: datetime | None = None
    release: BrakeRelease | None = None
    next_release_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def state(self) -> BrakeState:
        """Where in its life it is."""
        if self.ended_at is not None:
            return BrakeState.OVER
        return BrakeState.HOLDING if self.let_go_at is None else BrakeState.LETTING_GO


def engaged(now: datetime, policy: Policy) -> Course:
    """A brake that engages now."""
    return Course(engaged_at=now, joins_until=now + policy.window + policy.slack, until=now + policy.hold)


def takes(course: Course, now: datetime) -> bool:
    """Whether an overdue server of its scope becomes `Unknown` rather than `Disconnected`."""
    if course.state is BrakeState.LETTING_GO:
        return now < course.joins_until
    return course.state is BrakeState.HOLDING


def let_go(course: Course, now: datetime, why: BrakeRelease) -> Course:
    """It holds no longer. One that let go before is left as it is."""
    if course.state is not BrakeState.HOLDING:
        return course
    return course._replace(let_go_at=now, release=why, next_release_at=now)


def after_outage(course: Course, lasted: timedelta) -> Course:
    """Time in which nobody watched counts for nobody's silence, so not for the hold either."""
    if course.state is BrakeState.OVER:
        return course
    return course._replace(joins_until=course.joins_until + lasted, until=course.until + lasted)


def step(
    course: Course, now: datetime, waiting: int, room: int, policy: Policy, *, is_next: bool
) -> tuple[Course, int]:
    """One look at a brake that holds `waiting` servers. Returns its course, and how many it lets go now.

    Never more than `room`. `is_next`: no other brake of its scope that let go before it is still at it.
    """
    if course.state is BrakeState.OVER:
        return course, 0
    course = _clipped(course, now, policy)
    is_done = not waiting and now >= course.joins_until
    if course.state is BrakeState.HOLDING:
        if is_done:
            return let_go(course, now, BrakeRelease.RETURNED)._replace(ended_at=now), 0
        if now < course.until:
            return course, 0
        course = let_go(course, now, BrakeRelease.EXPIRED)
    elif is_done:
        return course._replace(ended_at=now), 0
    if not is_next:
        return course._replace(next_release_at=now + policy.pause), 0
    due = min(max(course.next_release_at or now, now - policy.slack), now + policy.pause)
    if due > now:
        return course._replace(next_release_at=due), 0
    count = min((now - due) // policy.pause + 1, waiting, room)
    return course._replace(next_release_at=due + count * policy.pause), count


def _clipped(course: Course, now: datetime, policy: Policy) -> Course:
    """No time lies further ahead than when it was set: the clock may have been set back, or the policy changed."""
    return course._replace(
        engaged_at=min(course.engaged_at, now),
        joins_until=min(course.joins_until, now + policy.window + policy.slack),
        until=min(course.until, now + policy.hold),
    )
