"""Rules of source machines: what a process server carries at most, and what goes beyond. Pure.

Source: domain section 3 (the tables themselves are in `app.sizing.tiers`) and section 4 for whom no machine goes to.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from app.process_servers.rules import Refusal
from app.sizing.tiers import CONFIGURATION_SERVERS, MAX_MACHINE_CHURN, PROCESS_SERVERS, Load, Tier, amount, served_tier
from app.vocabulary import ServerKind

_ADVICE = frozenset({"critical"})


def tier_of(kind: ServerKind, hardware: Mapping[str, Any]) -> Tier:
    """The row of the sizing tables that a process server is held to, by its registered hardware.

    `hardware` has `cpuCount` and `totalMemoryInBytes`, where they are known. An inbuilt process server is held to
    the configuration server's table. Unknown hardware gets the benefit of the doubt: the largest row. Hardware
    below the smallest row is held to that one.
    """
    tiers = CONFIGURATION_SERVERS if kind is ServerKind.INBUILT else PROCESS_SERVERS
    cpu_count, memory = hardware.get("cpuCount"), hardware.get("totalMemoryInBytes")
    if cpu_count is None and memory is None:
        return tiers[-1]
    return served_tier(cpu_count, memory, tiers) or tiers[0]


class Excess(NamedTuple):
    """Source machines that would go beyond a process server's limit."""

    tier: Tier
    present: Load
    added: Load
    reasons: list[str]


def excess_of(tier: Tier, present: Load, added: Load) -> Excess | None:
    """What goes beyond the limit of `tier` when `added` comes to `present`; None where all fits.

    Limits are inclusive. Only what grows is judged: a server over its limit of churn may still lose some, and a
    machine there may still be described anew.
    """
    total, limit = present + added, tier.limit
    reasons: list[str] = []
    if added.machines > 0 and total.machines > limit.machines:
        reasons.append(
            f"{present.machines} source machine(s) are there, {added.machines} more make {total.machines}, "
            f"the limit is {limit.machines}"
        )
    if added.churn > 0 and total.churn > limit.churn:
        reasons.append(
            f"their churn is {amount(present.churn)} a day, {amount(added.churn)} more make {amount(total.churn)}, "
            f"the limit is {amount(limit.churn)}"
        )
    return Excess(tier, present, added, reasons) if reasons else None


def is_protectable(churn: int) -> bool:
    """Whether a machine of this churn (bytes a day) can be protected: one process server has to carry all of it."""
    return churn <= MAX_MACHINE_CHURN


def refusals_of_target(refusals: Iterable[Refusal]) -> list[Refusal]:
    """Of a process server's refusals, those that hold when somebody names it as the target.

    Critical health keeps a server from being recommended (domain section 4). It does not overrule an operator: the
    contract's reasons are disconnected, drained, version and capacity.
    """
    return [refusal for refusal in refusals if refusal.code not in _ADVICE]
