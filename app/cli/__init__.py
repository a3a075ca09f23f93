"""The command line: operators' commands over the API, the control plane's own, and the agent."""

import gc
import sys

if sys.argv[1:2] != ["agent"]:
    # What the modules of a command define stays until it ends. At Python's own threshold, a fifth of the time that
    # `muster serve` takes to start would go to looking for garbage among it. Here, because workers read this too.
    # An agent reads little, and lives long on machines that are not ours.
    gc.set_threshold(50_000, 50, 50)


def main() -> None:
    """Run `muster`. The agent goes its own way, so that it starts fast and needs nothing of the rest."""
    if sys.argv[1:2] == ["agent"]:
        from app.agent.command import main as agent

        sys.exit(agent(sys.argv[2:]))
    from app.cli.application import run

    run()
