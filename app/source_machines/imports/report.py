"""What an import came to, as its report says it."""

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from app.models import ProcessServer
from app.sizing.tiers import Load
from app.source_machines.capacity import told
from app.source_machines.imports.rules import Outcome, ServerExcess, Step
from app.source_machines.imports.schemas import (
    MAX_SHOWN,
    ImportReport,
    LoadView,
    RowErrorView,
    RowView,
    ServerExcessView,
)


def report_of(
    steps: Sequence[Step],
    excesses: Iterable[ServerExcess],
    servers: Mapping[uuid.UUID, ProcessServer],
    *,
    imported: bool,
    dry_run: bool,
) -> ImportReport:
    """The report. Where rows are refused it lists these alone, the first 1,000; the counts are exact always."""
    counts = Counter(step.outcome for step in steps)
    refused = [step for step in steps if step.outcome is Outcome.REFUSED]
    return ImportReport(
        imported=imported,
        dry_run=dry_run,
        created=counts[Outcome.CREATED],
        updated=counts[Outcome.UPDATED],
        moved=counts[Outcome.MOVED],
        unchanged=counts[Outcome.UNCHANGED],
        refused=len(refused),
        over_capacity=[_excess_view(entry, servers[entry.process_server_id]) for entry in excesses],
        rows=[_row_view(step) for step in (refused[:MAX_SHOWN] or steps)],
    )


def _row_view(step: Step) -> RowView:
    errors = [RowErrorView(code=error.code, detail=error.detail, pointer=error.pointer) for error in step.row.errors]
    return RowView(line=step.row.line, name=step.row.name, outcome=step.outcome, errors=errors)


def _excess_view(found: ServerExcess, server: ProcessServer) -> ServerExcessView:
    excess = found.excess
    return ServerExcessView(
        process_server=server.name,
        detail=told(server, excess),
        is_permitted=found.is_permitted,
        present=_load_view(excess.present),
        added=_load_view(excess.added),
        limit=_load_view(excess.tier.limit),
        line_count=len(found.lines),
        lines=found.lines[:MAX_SHOWN],
    )


def _load_view(load: Load) -> LoadView:
    return LoadView(source_machines=load.machines, churn_in_bytes_per_day=load.churn)
