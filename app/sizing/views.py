"""The wire form of a recommendation."""

from collections import Counter

from app.sizing.demand import Refused
from app.sizing.rules import Option, Placed, Recommendation
from app.sizing.schemas import (
    AssignmentView,
    ConfigurationServersView,
    LoadView,
    NotProtectableView,
    OptionView,
    ProcessServersView,
    SizingRecommendation,
)
from app.sizing.tiers import Load, Tier
from app.vocabulary import ServerKind


def view_of(found: Recommendation) -> SizingRecommendation:
    """The answer of the API and of the command line."""
    return SizingRecommendation(
        additional_process_servers_needed=found.is_additional_needed,
        load=load_view(found.planned),
        not_protectable=[refused_view(entry) for entry in found.refused],
        options=[_option(option) for option in found.options],
    )


def load_view(load: Load) -> LoadView:
    """Machines and churn."""
    return LoadView(source_machines=load.machines, churn_in_bytes_per_day=load.churn)


def refused_view(refused: Refused) -> NotProtectableView:
    """A machine that can't be protected."""
    return NotProtectableView(name=refused.name, churn_in_bytes_per_day=refused.churn, reason=refused.reason)


def process_servers_view(tier: Tier, count: int) -> ProcessServersView:
    """`count` process servers of a tier."""
    return ProcessServersView(
        tier=tier.name,
        cpu_count=tier.cpu_count,
        memory_in_bytes=tier.memory,
        cache_disk_in_bytes=tier.cache_disk,
        count=count,
    )


def _option(option: Option) -> OptionView:
    configuration_servers = Counter(option.configuration_servers)
    tiers = Counter(server.tier for server in option.servers if server.process_server is not None)
    return OptionView(
        strategy=option.strategy,
        configuration_servers=[
            ConfigurationServersView(
                cpu_count=tier.cpu_count,
                memory_in_bytes=tier.memory,
                cache_disk_in_bytes=tier.cache_disk,
                count=count,
                uses_inbuilt_process_server=is_inbuilt_used,
            )
            for (tier, is_inbuilt_used), count in configuration_servers.items()
        ],
        process_servers=[process_servers_view(tier, count) for tier, count in tiers.items()],
        assignments=[_assignment(server) for server in option.servers],
        lower_bound=option.lower_bound,
        gap=option.process_servers - option.lower_bound,
        cpu_count=option.cpus,
        cpu_count_lower_bound=option.cpu_lower_bound,
        reasons=option.reasons,
    )


def _assignment(server: Placed) -> AssignmentView:
    is_inbuilt = server.process_server is None
    return AssignmentView(
        process_server=server.process_server,
        configuration_server=server.site,
        kind=ServerKind.INBUILT if is_inbuilt else ServerKind.SCALE_OUT,
        tier=None if is_inbuilt else server.tier.name,
        cpu_count=server.tier.cpu_count,
        machines=None if server.share.names is None else list(server.share.names),
        source_machine_count=server.share.load.machines,
        churn_in_bytes_per_day=server.share.load.churn,
        headroom=load_view(server.headroom),
    )
