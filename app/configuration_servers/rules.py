"""Rules of configuration servers: pure, no database, no clock."""

from collections.abc import Iterable
from typing import NamedTuple

from app.vocabulary import ConnectionState, VersionStatus

_OUT_OF_DATE = frozenset(
    {VersionStatus.NOT_SUPPORTED, VersionStatus.UPDATE_REQUIRED, VersionStatus.SECURITY_UPDATE_REQUIRED}
)


class Component(NamedTuple):
    """A configuration server or one of its process servers, as the renewal of the certificate looks at it."""

    kind: str
    name: str
    connection_state: ConnectionState
    version_status: VersionStatus


class Blocker(NamedTuple):
    """One reason against it: a stable code, and a sentence that names the component."""

    code: str
    detail: str


def renewal_blockers(components: Iterable[Component]) -> list[Blocker]:
    """Everything that keeps a configuration server's certificate from being renewed.

    It can be renewed at any time while all components are connected and current (domain section 7). Current is a
    version that is supported, also one that is deprecated; one that ended, was withdrawn or wants a security update
    first is not.
    """
    found: list[Blocker] = []
    for kind, name, state, status in components:
        if state is not ConnectionState.CONNECTED:
            found.append(Blocker("not-connected", f"{kind} '{name}' is {state.value}"))
        if status in _OUT_OF_DATE:
            found.append(Blocker("not-current", f"the version of {kind} '{name}' is {status.value}; upgrade it first"))
    return found
