"""Which process server a new source machine goes to (domain section 4): pure, no database, no clock.

Fit is one that takes machines, is not critical, is not for failback, and stays within its limits with the machine.
Best first: healthy before warning; then the most spare capacity, which is the smaller of what is left of its machines
and of its churn, each as a part of the limit, once the machine is there; then the name.
"""

import uuid
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from app.balancing.world import FAILBACK_ONLY, FULL, utilisation
from app.process_servers.rules import Refusal
from app.sizing.reasons import limit_in_words, load_in_words
from app.sizing.tiers import MAX_MACHINE_CHURN, Load, Tier, amount
from app.source_machines.rules import excess_of, is_protectable
from app.vocabulary import Health, ServerKind

NOT_PROTECTABLE = "not-protectable"
OVER_CAPACITY = "over-capacity"
_RANK = {Health.HEALTHY: 0, Health.WARNING: 1, Health.CRITICAL: 2}


class Candidate(NamedTuple):
    """A process server as it is. `advice` is every reason why no machine should go there, limits apart."""

    id: uuid.UUID
    name: str
    kind: ServerKind
    health: Health
    version: str
    configuration_server_version: str
    tier: Tier
    used: Load
    advice: tuple[Refusal, ...]


class Fit(NamedTuple):
    """A server that can take the machine. `spare` is what is left then, `level` of it in basis points."""

    candidate: Candidate
    spare: Load
    level: int
    reasons: list[str]


class Unfit(NamedTuple):
    """A server that can't, with every reason."""

    candidate: Candidate
    blockers: list[Refusal]


class Placement(NamedTuple):
    """Where a machine can go, best first, and where not, by name."""

    fit: list[Fit]
    unfit: list[Unfit]
    reasons: list[str]


def failback_only(name: str) -> Refusal:
    """Why a failback process server gets no machine of the premises."""
    return Refusal(FAILBACK_ONLY, f"process server {name} is for failback: it carries machines that run in Azure")


def place(candidates: Iterable[Candidate], churn: int) -> Placement:
    """The process servers for a new machine of `churn` bytes a day."""
    fit: list[Fit] = []
    unfit: list[Unfit] = []
    for candidate in candidates:
        blockers = _blockers(candidate, churn)
        if blockers:
            unfit.append(Unfit(candidate, blockers))
        else:
            fit.append(_fit(candidate, Load(1, churn)))
    fit.sort(key=lambda entry: (_RANK[entry.candidate.health], -entry.level, entry.candidate.name))
    unfit.sort(key=lambda entry: entry.candidate.name)
    return Placement(fit, unfit, _reasons(fit, unfit, churn))


def _blockers(candidate: Candidate, churn: int) -> list[Refusal]:
    blockers = list(candidate.advice)
    if candidate.kind is ServerKind.FAILBACK:
        blockers.append(failback_only(candidate.name))
    if not is_protectable(churn):
        blockers.append(Refusal(NOT_PROTECTABLE, _above(churn)))
    excess = excess_of(candidate.tier, candidate.used, Load(1, churn))
    if excess is not None:
        size = candidate.tier.name.value
        told = "; ".join(excess.reasons)
        blockers.append(Refusal(OVER_CAPACITY, f"process server {candidate.name} (size: {size}): {told}"))
    elif not candidate.used.fits(candidate.tier.limit):
        # A machine without churn adds nothing to churn that is beyond its limit already, and is still no relief.
        carried, limit = load_in_words(candidate.used), limit_in_words(candidate.tier.limit)
        detail = f"process server {candidate.name} is beyond its limits already: {carried}, the limit is {limit}"
        blockers.append(Refusal(OVER_CAPACITY, detail))
    return blockers


def _fit(candidate: Candidate, added: Load) -> Fit:
    total, limit = candidate.used + added, candidate.tier.limit
    spare, level = limit.beyond(total), FULL - utilisation(total, limit)
    scarce = "machines" if spare.machines * limit.churn <= spare.churn * limit.machines else "churn"
    version, site = candidate.version, candidate.configuration_server_version
    relation = "the same as" if version == site else "not above"
    left = f"with this machine {load_in_words(spare)} are left of {limit_in_words(limit)}"
    reasons = [
        f"{candidate.health.value}, connected and not in maintenance",
        f"version {version} is {relation} its configuration server's {site}",
        f"{left}: {level / 100:.1f} % of {scarce}",
    ]
    return Fit(candidate, spare, level, reasons)


def _reasons(fit: Sequence[Fit], unfit: Sequence[Unfit], churn: int) -> list[str]:
    if not is_protectable(churn):
        return [f"nobody: {_above(churn)}"]
    machine = f"a machine that changes {amount(churn)} a day"
    if fit:
        best = fit[0]
        healthy = sum(1 for entry in fit if entry.candidate.health is Health.HEALTHY)
        chosen = f"{best.candidate.name} is the best of {len(fit)} for {machine}"
        return [
            f"{chosen}: {best.candidate.health.value}, and {best.level / 100:.1f} % are left with it",
            f"{healthy} of {len(fit)} that fit are healthy and come first; {len(unfit)} don't fit",
        ]
    if not unfit:
        return ["nobody: the configuration server has no process server"]
    return [f"nobody of {len(unfit)} process server(s) fits {machine}: see why each of them doesn't"]


def _above(churn: int) -> str:
    return (
        f"a machine that changes {amount(churn)} a day can't be protected: it uses one process server, and none "
        f"carries more than {amount(MAX_MACHINE_CHURN)} a day"
    )
