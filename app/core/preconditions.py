"""ETag and If-Match: a change applies to the revision its author saw.

An ETag stands for what operators can change. Heartbeats do not alter it, or no PATCH would ever match.
"""

import uuid
from typing import Annotated, Protocol, TypeVar

from fastapi import Depends, Header, Response

from app.core.errors import PreconditionFailed


class Tagged(Protocol):
    """A row or view that knows its identity and revision."""

    id: uuid.UUID
    revision: int


View = TypeVar("View", bound=Tagged)


class Precondition:
    """The request's `If-Match`, if any."""

    def __init__(self, if_match: str | None) -> None:
        self._if_match = if_match

    def check(self, row: Tagged) -> None:
        """Raises PreconditionFailed unless the header is absent, `*`, or names the present revision of `row`."""
        if self._if_match is None or self._if_match.strip() == "*":
            return
        # If-Match compares strongly: a weak tag never matches (RFC 9110, 13.1.1).
        if etag(row) not in [candidate.strip() for candidate in self._if_match.split(",")]:
            raise PreconditionFailed(
                f"If-Match is {self._if_match[:80]}, the present ETag is {etag(row)}; read it again and retry"
            )

    def check_absent(self, what: str) -> None:
        """Raises PreconditionFailed when there is a header, `*` too: nothing is there that it could match."""
        if self._if_match is not None:
            raise PreconditionFailed(
                f"If-Match is {self._if_match[:80]}, and {what} does not exist; leave the header out to create it"
            )


def etag(row: Tagged) -> str:
    """The strong entity tag of a revision. What is created again under an old name has other tags."""
    return f'"{row.id.hex[-12:]}-{row.revision}"'


def tagged(response: Response, view: View) -> View:
    """Give `response` the ETag of `view`."""
    response.headers["ETag"] = etag(view)
    return view


async def _if_match(
    if_match: Annotated[
        str | None,
        Header(alias="If-Match", description="ETag of the revision to change.", examples=['"dc0c0c07398f-1"']),
    ] = None,
) -> Precondition:
    return Precondition(if_match)


IfMatch = Annotated[Precondition, Depends(_if_match)]
