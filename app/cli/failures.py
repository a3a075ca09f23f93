"""What can go wrong on the command line, and the exit code each kind ends with."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """Exit codes; scripts rely on them, so they never change their meaning."""

    FAILED = 1
    USAGE = 2
    DENIED = 4
    NOT_FOUND = 5
    CONFLICT = 6
    UNREACHABLE = 7


EXIT_CODE_MEANINGS: Mapping[int, str] = {
    0: "done",
    ExitCode.FAILED: "refused or failed; the message says why",
    ExitCode.USAGE: "the command line is not right, or a confirmation is missing",
    ExitCode.DENIED: "no valid token, or one without the right (401, 403)",
    ExitCode.NOT_FOUND: "there is no such thing (404)",
    ExitCode.CONFLICT: "its present state forbids it, or it changed meanwhile (409, 412)",
    ExitCode.UNREACHABLE: "no answer, or not ready (no connection, time-out, 502 to 504)",
    130: "interrupted",
}

_BY_STATUS: Mapping[int, ExitCode] = {
    401: ExitCode.DENIED,
    403: ExitCode.DENIED,
    404: ExitCode.NOT_FOUND,
    409: ExitCode.CONFLICT,
    412: ExitCode.CONFLICT,
    502: ExitCode.UNREACHABLE,
    503: ExitCode.UNREACHABLE,
    504: ExitCode.UNREACHABLE,
}


class CommandError(Exception):
    """A command can't go on. `remedy` tells the operator what to do about it."""

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, remedy: str | None = None, exit_code: ExitCode | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        if exit_code is not None:
            self.exit_code = exit_code


class UsageError(CommandError):
    """The command line asks for something that can't be done as it stands."""

    exit_code = ExitCode.USAGE


class UnreachableError(CommandError):
    """No answer came from the control plane."""

    exit_code = ExitCode.UNREACHABLE


class RefusedError(CommandError):
    """The control plane answered with a problem document."""

    def __init__(self, status: int, problem: Mapping[str, Any], *, remedy: str | None = None) -> None:
        title = str(problem.get("title") or f"HTTP status {status}")
        super().__init__(title, remedy=remedy, exit_code=exit_code_of(status))
        self.status = status
        self.problem = problem

    @property
    def code(self) -> str:
        """The problem's stable code; empty where it carries none."""
        return str(self.problem.get("code") or "")


def exit_code_of(status: int) -> ExitCode:
    """The exit code for an HTTP status that is an error."""
    return _BY_STATUS.get(status, ExitCode.FAILED)
