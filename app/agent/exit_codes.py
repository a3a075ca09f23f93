"""How the agent's commands end. Operators, scripts and the systemd unit rely on these numbers."""

import enum


class ExitCode(enum.IntEnum):
    """The exit status of a command of the agent."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    UNUSABLE_STATE = 3
    CREDENTIAL_REFUSED = 4
    PURGED = 5
    ALREADY_RUNNING = 6
    PREREQUISITE_NOT_MET = 7


EXIT_CODE_MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done, or stopped cleanly by a signal",
    ExitCode.FAILURE: "failed: refused by the control plane, or it can not be reached",
    ExitCode.USAGE: "wrong arguments, or a file that was named can not be read",
    ExitCode.UNUSABLE_STATE: "not registered, or the state file can not be read",
    ExitCode.CREDENTIAL_REFUSED: "the control plane does not know this credential: register again",
    ExitCode.PURGED: "the server was purged from the control plane: have it readmitted, register again",
    ExitCode.ALREADY_RUNNING: "another agent works on this state folder",
    ExitCode.PREREQUISITE_NOT_MET: "setup: this machine does not meet a prerequisite",
}
