"""The numbers that decided, in words. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction

from app.sizing.tiers import (
    CONFIGURATION_SERVERS,
    INBUILT_CHURN,
    INBUILT_MACHINES,
    LARGE,
    LARGE_DEPLOYMENT_MACHINES,
    MACHINES_PER_CONFIGURATION_SERVER,
    MAX_MACHINE_CHURN,
    MEDIUM,
    PROCESS_SERVERS,
    SMALL,
    TB,
    Load,
    Tier,
    amount,
    needs_additional,
)

INBUILT_UNUSED = (
    f"above {LARGE_DEPLOYMENT_MACHINES:,} machines the inbuilt process servers stay unused, as is documented for large "
    "deployments"
)


def load_in_words(load: Load) -> str:
    """`220 machines with 500 GB a day`."""
    return f"{load.machines:,} machine{'' if load.machines == 1 else 's'} with {amount(load.churn)} a day"


def limit_in_words(limit: Load) -> str:
    """`150 machines and 1 TB a day`."""
    return f"{limit.machines:,} machines and {amount(limit.churn)} a day"


def of_load(load: Load, growth: Fraction, planned: Load) -> str:
    """What is sized for."""
    if not growth:
        return f"sized for {load_in_words(load)}, without growth"
    percentage = int(growth) if growth.denominator == 1 else float(growth)
    return f"sized for {load_in_words(planned)}: {load_in_words(load)} and growth of {percentage} %, rounded up"


def of_refused(count: int) -> str:
    """Why the load is not the whole list."""
    return (
        f"{count:,} machine(s) above {amount(MAX_MACHINE_CHURN)} a day can't be protected and are left out; see "
        "notProtectable"
    )


def of_additional(planned: Load) -> str:
    """Whether the inbuilt process server would do."""
    limits = f"{INBUILT_MACHINES} machines and {amount(INBUILT_CHURN)} a day"
    if needs_additional(planned):
        return f"above {limits}, the limits of a configuration server's inbuilt process server"
    return f"within {limits}: a configuration server's inbuilt process server could carry it alone"


def of_scale_up(planned: Load, sites: tuple[int, int], count: tuple[int, int], is_large: bool) -> list[str]:
    """What decided the numbers: of sites and of process servers, each with its lower bound."""
    (sites_used, by_number), (used, least) = sites, count
    by_machines, by_churn = -(-planned.machines // LARGE.limit.machines), -(-planned.churn // LARGE.limit.churn)
    alone = f"the machines alone ask for {by_machines:,}, the churn alone for {by_churn:,}"
    found = [f"the fewest process servers, each up to {limit_in_words(LARGE.limit)}: {alone}"]
    if used > least:
        found.append(f"{used:,} process servers where the bound is {least:,}: no better division was found")
    if sites_used > 1:
        found.append(
            f"{sites_used} configuration servers, each for up to {MACHINES_PER_CONFIGURATION_SERVER} machines and the "
            "process servers that belong to it"
        )
    if sites_used > by_number:
        found.append(
            f"{by_number} would do by the number of machines, but the process servers can't be divided over so few: "
            f"a third one would bring a configuration server above {MACHINES_PER_CONFIGURATION_SERVER}"
        )
    if is_large:
        found.append(
            f"more than {LARGE_DEPLOYMENT_MACHINES:,} machines are a large deployment: every process server has the "
            "highest specification"
        )
    return found


def of_scale_out(larges: int, is_large: bool) -> list[str]:
    """What decided between small and medium process servers."""
    limits = f"small ones up to {limit_in_words(SMALL.limit)}, medium ones up to {limit_in_words(MEDIUM.limit)}"
    found = [f"the fewest vCPUs of small and medium process servers, then the fewest servers: {limits}"]
    if larges:
        found.append(
            f"{larges:,} large process server(s) beside them, because machines above {amount(TB)} a day fit onto no "
            "smaller one"
        )
    if is_large:
        found.append(
            f"more than {LARGE_DEPLOYMENT_MACHINES:,} machines are a large deployment, for which the highest "
            "specification is recommended: see scaleUp"
        )
    return found


def of_servers(loads: Iterable[tuple[Tier, Load]]) -> list[str]:
    """For each tier, why it had to be this one: the fullest of its servers against the tier below."""
    highest: dict[str, tuple[Tier, Load, int]] = {}
    for tier, load in loads:
        _, most, count = highest.get(tier.name, (tier, Load(0, 0), 0))
        fullest = Load(max(most.machines, load.machines), max(most.churn, load.churn))
        highest[tier.name] = tier, fullest, count + 1
    found = []
    for tier, fullest, count in sorted(highest.values(), key=lambda entry: -entry[0].cpu_count):
        carried = f"{count:,} {tier.name.value}: up to {load_in_words(fullest)} on one, within {_limit(tier)}"
        below = [other for other in PROCESS_SERVERS if other.cpu_count < tier.cpu_count]
        above = _exceeded(fullest, below[-1]) if below else ""
        found.append(f"{carried}{above}")
    return found


def _limit(tier: Tier) -> str:
    return limit_in_words(tier.limit)


def _exceeded(load: Load, tier: Tier) -> str:
    what = []
    if load.machines > tier.limit.machines:
        what.append(f"{tier.limit.machines:,} machines")
    if load.churn > tier.limit.churn:
        what.append(f"{amount(tier.limit.churn)} a day")
    return f" and above the {' and '.join(what)} of a {tier.name.value} one" if what else ""


def of_configuration_servers(servers: Sequence[tuple[Tier, bool]]) -> list[str]:
    """How the configuration servers were chosen."""
    found = []
    counted = Counter(servers)
    for tier, is_inbuilt_used in sorted(counted, key=lambda entry: (-entry[0].cpu_count, entry[1])):
        count = counted[tier, is_inbuilt_used]
        size = f"{count:,} configuration server(s) with {tier.cpu_count} vCPUs and {amount(tier.memory)} of memory"
        if is_inbuilt_used:
            how = f"the inbuilt process server carries up to {limit_in_words(tier.limit)}"
        elif tier == CONFIGURATION_SERVERS[0]:
            how = "the pairing table's beside small and medium process servers"
        else:
            how = "the pairing table's beside a large process server"
        found.append(f"{size}: {how}")
    return found
