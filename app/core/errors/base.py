"""The error tree: whatever goes wrong in Muster is one of these, and leaves as a problem+json (RFC 9457).

    MusterError                     status  code
    |- MalformedRequest             400     malformed-json, cursor-unreadable, ...
    |- Unauthenticated              401
    |- Forbidden                    403
    |- NotFound                     404
    |- Conflict                     409     one class for every reason
    |- Gone                         410
    |- PreconditionFailed           412
    |- TooLarge                     413
    |- RangeNotSatisfiable          416
    |- Invalid                      422
    |- TooManyRequests              429     with Retry-After
    `- Unavailable                  503     with Retry-After

A class is an entry of the error catalogue: `code` is stable, `title` never varies, `detail` names the values.
"""

from collections.abc import Iterable
from typing import Any, ClassVar, TypedDict


class FieldProblem(TypedDict):
    """One thing that is wrong with the input: a JSON pointer and what would be right."""

    pointer: str
    detail: str


class MusterError(Exception):
    """Base of all errors that reach a client. `members` are added to the problem document."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Something inside Muster failed"

    def __init__(self, detail: str, *, headers: dict[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}
        self.members = members


class MalformedRequest(MusterError):
    """The request could not be read at all."""

    status = 400
    code = "malformed-request"
    title = "The request could not be read"


class MalformedJson(MalformedRequest):
    """The body is not JSON."""

    code = "malformed-json"
    title = "The body is not valid JSON"


class CursorUnreadable(MalformedRequest):
    """A list cursor was altered, or belongs to another list or order."""

    code = "cursor-unreadable"
    title = "The cursor can't be read"


class Unauthenticated(MusterError):
    """No identity, or one that is not valid."""

    status = 401
    code = "unauthenticated"
    title = "A valid identity is needed"

    def __init__(self, detail: str, **members: Any) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"}, **members)


class RegistrationKeyRefused(Unauthenticated):
    """Unknown, expired or revoked registration key."""

    code = "registration-key-refused"
    title = "The registration key is not valid"


class PassphraseRefused(Unauthenticated):
    """No configuration server of that address or name has this passphrase."""

    code = "passphrase-refused"
    title = "The passphrase is not valid"


class CredentialRefused(Unauthenticated):
    """The agent credential is unknown or was replaced."""

    code = "credential-refused"
    title = "The agent credential is not valid"


class Forbidden(MusterError):
    """A valid identity without the right."""

    status = 403
    code = "forbidden"
    title = "The token does not grant this"


class NotFound(MusterError):
    """Nothing there, or nothing this identity may know of."""

    status = 404
    code = "not-found"
    title = "There is nothing at this address"


class MethodNotAllowed(MusterError):
    """The address exists, the method does not; `Allow` lists those that do."""

    status = 405
    code = "method-not-allowed"
    title = "The address does not take this method"


class Conflict(MusterError):
    """The request is right, the state of things is against it."""

    status = 409
    code = "conflict"
    title = "The present state does not allow this"


class Gone(MusterError):
    """It was there and is not any more."""

    status = 410
    code = "gone"
    title = "It is gone"


class Purged(Gone):
    """The agent's server was deleted or purged; `purgedAt`, `purgedBy` and `reason` say when, by whom, why."""

    code = "purged"
    title = "This server was removed from Muster"


class CursorExpired(Gone):
    """The cursor points before the oldest event that is kept."""

    code = "cursor-expired"
    title = "The events after this cursor are no longer kept"


class PreconditionFailed(MusterError):
    """`If-Match` names a revision that is no longer the present one."""

    status = 412
    code = "precondition-failed"
    title = "The resource has changed"


class TooLarge(MusterError):
    """The body is larger than the limit."""

    status = 413
    code = "body-too-large"
    title = "The body is too large"


class RangeNotSatisfiable(MusterError):
    """The range begins behind the end of the file; `Content-Range` has its size."""

    status = 416
    code = "range-not-satisfiable"
    title = "Nothing of the file is in this range"


class UnsupportedMediaType(MusterError):
    """The body is not declared as JSON."""

    status = 415
    code = "unsupported-media-type"
    title = "The body must be application/json"


class FileTypeUnsupported(UnsupportedMediaType):
    """The body is not declared as JSON lines or CSV."""

    code = "file-type-unsupported"
    title = "The file is neither JSON lines nor CSV"


class Invalid(MusterError):
    """The input was read and is wrong; `errors` names each field."""

    status = 422
    code = "validation-failed"
    title = "The input is not valid"

    def __init__(self, detail: str, errors: Iterable[FieldProblem] = (), **members: Any) -> None:
        super().__init__(detail, errors=list(errors), **members)


class ImportInvalid(MusterError):
    """Rows of a file can't be read or are wrong in themselves, and nothing was imported; `rows` names each."""

    status = 422
    code = "import-invalid"
    title = "Rows of the file are not valid"


class TooManyRequests(MusterError):
    """Too many failures; `Retry-After` says when to try again."""

    status = 429
    code = "too-many-failures"
    title = "Too many failed attempts"


class Internal(MusterError):
    """An unhandled fault; the log has the rest under the request id."""

    status = 500


class Unavailable(MusterError):
    """Muster can't do it now; `Retry-After` says when to try again."""

    status = 503
    code = "unavailable"
    title = "Muster can't do this now"


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""

    code = "database-unavailable"
    title = "The database does not answer"


class Overloaded(Unavailable):
    """More heartbeats are waiting than the queue holds."""

    code = "overloaded"
    title = "Too many heartbeats are waiting"


class NotReady(Unavailable):
    """Database, schema or monitor is not fine; `reasons` says which."""

    code = "not-ready"
    title = "Muster is not ready"


class SecretKeyUnavailable(Unavailable):
    """This replica lacks the key that webhook secrets are encrypted with."""

    code = "secret-key-unavailable"
    title = "The secrets can't be decrypted here"
