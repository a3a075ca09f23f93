"""What can be done with the release catalogue, and what it tells of versions."""

from collections.abc import Sequence

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal, require_all_vaults
from app.core.db import add_unique
from app.core.errors import CursorUnreadable, Invalid, ReleaseExists, ReleaseNotFound
from app.core.pagination import PageRequest, decode_cursor, encode_cursor
from app.core.wire import Page
from app.models import Release
from app.versions import queries
from app.versions.rules import CatalogueEntry, Version, newest, status_of
from app.versions.schemas import ReleaseCreate, ReleaseView, VersionAdvice, VersionCompatibility
from app.versions.upgrades import UPGRADE_ORDER, compatibility, route_to_newest
from app.vocabulary import UpgradeComponent

_LIST = "releases -version"
log = structlog.get_logger("muster.versions")


async def list_releases(session: AsyncSession, paging: PageRequest) -> Page[ReleaseView]:
    """One page of the catalogue, newest first.

    Versions are ordered as numbers, which their texts are not, so the order is made here: the catalogue is small,
    and every view of a server reads the whole of it.
    """
    releases = sorted(await queries.releases(session), key=_version_of, reverse=True)
    left = releases
    if paging.cursor is not None:
        after = _position(paging.cursor)
        left = [release for release in releases if _version_of(release) < after]
    shown = left[: paging.limit]
    cursor = encode_cursor(_LIST, [shown[-1].version]) if len(left) > len(shown) else None
    entries = [entry_of(release) for release in releases]
    return Page[ReleaseView](items=[view_of(release, entries) for release in shown], next_cursor=cursor)


def _position(cursor: str) -> Version:
    (text,) = decode_cursor(_LIST, cursor, [str])
    try:
        return Version.parse(text)
    except ValueError:
        raise CursorUnreadable(f"the cursor '{cursor[:80]}' can't be read; start without one") from None


async def add(session: AsyncSession, principal: Principal, body: ReleaseCreate) -> ReleaseView:
    """Put a release into the catalogue. One that was withdrawn comes back, as `body` describes it.

    Raises ReleaseExists, Invalid for a support that ends before the release, and Forbidden for a token of one
    vault: the catalogue is everybody's.
    """
    require_all_vaults(principal, "adding releases")
    if body.released_on and body.support_ends_on and body.support_ends_on < body.released_on:
        detail = f"support can't end on {body.support_ends_on}, before the release on {body.released_on}"
        raise Invalid(detail, [{"pointer": "#/supportEndsOn", "detail": detail}])
    taken = ReleaseExists(f"release {body.version} is in the catalogue already")
    release = await queries.lock_release(session, body.version)
    if release is None:
        release = Release(version=body.version)
        _describe(release, body)
        await add_unique(session, release, taken)
    elif release.is_withdrawn:
        _describe(release, body)
        await session.flush()
    else:
        raise taken
    log.info("release added", version=release.version, by=principal.actor)
    return view_of(release, await queries.catalogue(session))


def _describe(release: Release, body: ReleaseCreate) -> None:
    release.name = body.name or body.version
    release.released_on = body.released_on
    release.support_ends_on = body.support_ends_on
    release.needs_security_update = body.requires_security_update
    release.is_withdrawn = False


async def withdraw(session: AsyncSession, principal: Principal, version: str) -> None:
    """Withdraw a release: it stays listed, nothing is upgraded to it, and who runs it is asked to update.

    Withdrawing it again changes nothing. Raises ReleaseNotFound, or Forbidden for a token of one vault.
    """
    require_all_vaults(principal, "withdrawing releases")
    release = await queries.lock_release(session, version)
    if release is None:
        raise ReleaseNotFound(f"the catalogue has no release {version}")
    if not release.is_withdrawn:
        release.is_withdrawn = True
        log.info("release withdrawn", version=release.version, by=principal.actor)


async def compare(session: AsyncSession, configuration_server: str, process_server: str) -> VersionCompatibility:
    """Whether two versions may work together, what each is worth, and the way of each to the newest release."""
    catalogue = await queries.catalogue(session)
    verdict = compatibility(Version.parse(process_server), Version.parse(configuration_server))
    latest = newest(catalogue)
    blocked = [
        f"{version} can't be upgraded to {latest}: {route.reason}"
        for version in dict.fromkeys((configuration_server, process_server))
        if not (route := route_to_newest(Version.parse(version), catalogue)).is_open
    ]
    return VersionCompatibility(
        compatible=verdict.is_compatible,
        code=verdict.code,
        reason="; ".join([verdict.reason, *blocked]),
        latest_release=None if latest is None else str(latest),
        configuration_server=_advice(configuration_server, catalogue),
        process_server=_advice(process_server, catalogue),
        upgrade_order=[component for component in UPGRADE_ORDER if component is not UpgradeComponent.MOBILITY_AGENT],
    )


def _advice(text: str, catalogue: Sequence[CatalogueEntry]) -> VersionAdvice:
    version = Version.parse(text)
    route = route_to_newest(version, catalogue)
    return VersionAdvice(
        version=text,
        version_status=status_of(version, catalogue),
        upgrade_path=[str(step) for step in route.path] if route.is_open else None,
    )


def _version_of(release: Release) -> Version:
    return Version.parse(release.version)


def entry_of(release: Release) -> CatalogueEntry:
    """A row as the rules want it."""
    return CatalogueEntry(_version_of(release), release.is_withdrawn, release.needs_security_update)


def view_of(release: Release, catalogue: Sequence[CatalogueEntry]) -> ReleaseView:
    """The wire form of a row, judged by the whole catalogue."""
    version = _version_of(release)
    return ReleaseView(
        version=release.version,
        name=release.name,
        released_on=release.released_on,
        withdrawn=release.is_withdrawn,
        requires_security_update=release.needs_security_update,
        support_ends_on=release.support_ends_on,
        version_status=status_of(version, catalogue),
        newest=version == newest(catalogue),
    )
