"""The command line: operators' commands over the API, the control plane's own, and the agent."""

import sys


def main() -> None:
    """Run `muster`. The agent goes its own way, so that it starts fast and needs nothing of the rest."""
    if sys.argv[1:2] == ["agent"]:
        from app.agent.command import main as agent

        sys.exit(agent(sys.argv[2:]))
    from app.cli.application import run

    run()
