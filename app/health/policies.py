"""A vault's health policy as use cases."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal
from app.access.scope import vault_in_scope
from app.core.errors import FieldProblem, Invalid
from app.core.preconditions import Precondition
from app.events.service import Resource, record
from app.health import queries
from app.health.conditions import from_json, to_json
from app.health.policy import WIRE_NAMES, Policy, changed, is_window, named_members, not_a_window, problems_of
from app.health.policy import to_json as rules_to_json
from app.health.raising import end, refresh
from app.health.rules import NO_OVERRIDE, RULES, Applied
from app.health.schemas import HealthPolicyUpdate, HealthPolicyView, RuleUpdate, RuleView
from app.models import HealthPolicy, Vault
from app.vocabulary import AlertCode, EventType, ResourceKind

_FIELDS = {
    "is_enabled": "is_enabled",
    "window_seconds": "window_seconds",
    "warning_threshold": "warning",
    "critical_threshold": "critical",
    "hysteresis": "hysteresis",
}
"""The members of a `RuleUpdate` as the fields of an `Override`."""


async def read(session: AsyncSession, principal: Principal, vault_ref: str, window_seconds: float) -> HealthPolicyView:
    """A vault's policy; `window_seconds` is the setting's, which holds where the policy says nothing."""
    vault = await vault_in_scope(session, principal, vault_ref)
    return view_of(vault, await queries.policy_row(session, vault.id), window_seconds)


async def change(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    body: HealthPolicyUpdate,
    precondition: Precondition,
    now: datetime,
    window_seconds: float,
) -> HealthPolicyView:
    """Change what `body` names. Every server of the vault is judged anew by its next heartbeat; what was held counts.

    Alerts of a rule that is disabled end at once. Raises PreconditionFailed when the caller saw another revision,
    Invalid naming every member that makes no sense.
    """
    vault = await vault_in_scope(session, principal, vault_ref, for_update=True)
    row = await queries.policy_row(session, vault.id)
    precondition.check(row or _blank(vault, now))
    before = queries.policy_of(row)
    after = _merged(before, body)
    _check(after, window_seconds)
    if after == before:
        return view_of(vault, row, window_seconds)
    if row is None:
        row = _blank(vault, now)
        session.add(row)
    row.window_seconds, row.rules = after.window_seconds, rules_to_json(after.overrides)
    row.revision += 1
    row.updated_at = now
    record(
        session,
        vault.id,
        now,
        EventType.VAULT_HEALTH_POLICY_CHANGED,
        Resource(ResourceKind.VAULT, vault.id, vault.name),
        actor=principal.actor,
        message=f"the health policy of vault {vault.name} was changed",
        data={"windowSeconds": after.window_seconds, "rules": row.rules},
    )
    await queries.lock_hosts_of_vault(session, vault.id)
    await queries.forget_quiet_ranges(session, vault.id)
    await _end_disabled(session, vault.id, before, after, now)
    await session.flush()
    return view_of(vault, row, window_seconds)


def _blank(vault: Vault, now: datetime) -> HealthPolicy:
    return HealthPolicy(id=vault.id, window_seconds=None, rules={}, created_at=now, updated_at=now, revision=0)


def _merged(policy: Policy, body: HealthPolicyUpdate) -> Policy:
    overrides = dict(policy.overrides)
    for code, update in body.rules.items():
        overrides[code] = NO_OVERRIDE if update is None else changed(overrides, code, _changes(update))
    window = body.window_seconds if "window_seconds" in body.model_fields_set else policy.window_seconds
    return Policy(window, {code: override for code, override in overrides.items() if override != NO_OVERRIDE})


def _changes(update: RuleUpdate) -> dict[str, Any]:
    return {field: getattr(update, member) for member, field in _FIELDS.items() if member in update.model_fields_set}


def _check(policy: Policy, window_seconds: float) -> None:
    problems: list[FieldProblem] = [
        {"pointer": f"#/rules/{problem.code}/{problem.member}", "detail": problem.detail}
        for problem in problems_of(policy, window_seconds)
    ]
    window = policy.window_seconds
    if window is not None and not is_window(window):
        problems.insert(0, {"pointer": "#/windowSeconds", "detail": not_a_window(window)})
    if problems:
        raise Invalid("; ".join(problem["detail"] for problem in problems), problems)


async def _end_disabled(
    session: AsyncSession, vault_id: uuid.UUID, before: Policy, after: Policy, now: datetime
) -> None:
    codes = _disabled(after) - _disabled(before)
    if not codes:
        return
    host_row_ids = await queries.hosts_with_alerts(session, vault_id, codes)
    hosts = await queries.hosts(session, host_row_ids)
    open_ = await queries.open_alerts(session, host_row_ids)
    for subject in await queries.servers_on(session, host_row_ids, now):
        for code in codes:
            end(session, open_, subject, code, now, reason="the vault's health policy disabled its rule")
    for host in hosts:
        kept = from_json(host.conditions)
        host.conditions = to_json({key: held for key, held in kept.items() if key.partition(":")[0] not in codes})
    await refresh(session, hosts)


def _disabled(policy: Policy) -> set[AlertCode]:
    return {code for code, override in policy.overrides.items() if override.is_enabled is False}


def view_of(vault: Vault, row: HealthPolicy | None, window_seconds: float) -> HealthPolicyView:
    """The wire form: every rule as it holds."""
    policy = queries.policy_of(row)
    applied = policy.applied(window_seconds)
    return HealthPolicyView(
        vault=vault.name,
        window_seconds=window_seconds if policy.window_seconds is None else policy.window_seconds,
        rules=[_rule_view(applied[code], policy.overrides) for code in RULES],
        updated_at=None if row is None else row.updated_at,
        id=vault.id,
        revision=0 if row is None else row.revision,
    )


def _rule_view(entry: Applied, overrides: Mapping[AlertCode, Any]) -> RuleView:
    named = named_members(overrides.get(entry.rule.code, NO_OVERRIDE))
    return RuleView(
        code=entry.rule.code,
        unit=entry.rule.unit,
        is_enabled=entry.is_enabled,
        window_seconds=entry.window_seconds if entry.rule.is_windowed else None,
        warning_threshold=entry.warning,
        critical_threshold=entry.critical,
        hysteresis=entry.hysteresis,
        overrides=[name for name in WIRE_NAMES.values() if name in named],
    )
