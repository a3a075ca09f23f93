"""Unified Setup's command line: checks the machine, registers it, installs the agent as a service."""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None, prog: str = "muster-setup") -> int:
    """Carry out one command line and return its exit code; see ``command.main``."""
    # Rules and readers of this package are imported by the agent too, which this program stands on.
    from .command import main as run

    return run(argv, prog)
