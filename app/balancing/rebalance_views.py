"""The wire form of a rebalance plan."""

from app.balancing.placement_schemas import BlockerView
from app.balancing.plans import Change, Plan
from app.balancing.rebalance_schemas import ChangeView, LowerBoundView, MoveView, RebalancePlan, UnplacedView
from app.balancing.world import FULL, Role, World
from app.sizing.views import load_view, process_servers_view


def view_of(vault: str, configuration_server: str, world: World, plan: Plan) -> RebalancePlan:
    """The answer of the API."""
    server = plan.wish.server
    return RebalancePlan(
        vault=vault,
        configuration_server=configuration_server,
        token=plan.token,
        goal=plan.wish.goal,
        process_server=None if server is None else world.servers[server].name,
        max_moves=plan.wish.max_moves,
        moves=[
            MoveView(
                id=world.machines[move.machine].id,
                machine=world.machines[move.machine].name,
                source=world.servers[move.source].name,
                target=world.servers[move.target].name,
                churn_in_bytes_per_day=world.machines[move.machine].churn,
                reason=move.reason,
            )
            for move in plan.moves
        ],
        process_servers=[_change(change) for change in plan.changes],
        unplaced=[
            UnplacedView(
                id=world.machines[entry.machine].id,
                machine=world.machines[entry.machine].name,
                process_server=world.servers[world.machines[entry.machine].home].name,
                churn_in_bytes_per_day=world.machines[entry.machine].churn,
                reason=entry.reason,
            )
            for entry in plan.unplaced
        ],
        unplaced_count=plan.unplaced_count,
        process_servers_needed=[process_servers_view(tier, count) for tier, count in plan.needed],
        lower_bound=LowerBoundView(
            highest_utilisation_percentage=plan.level_bound / 100 if plan.level_bound <= FULL else None,
            moves=plan.least_moves,
        ),
        reasons=plan.reasons,
    )


def _change(change: Change) -> ChangeView:
    server = change.server
    return ChangeView(
        id=server.id,
        name=server.name,
        kind=server.kind,
        takes_machines=server.role is Role.TAKES,
        blockers=[BlockerView(code=refusal.code, detail=refusal.detail) for refusal in server.refusals],
        limit=load_view(server.limit),
        before=load_view(change.before),
        after=load_view(change.after),
        utilisation_percentage_before=change.utilisation_before / 100,
        utilisation_percentage_after=change.utilisation_after / 100,
    )
