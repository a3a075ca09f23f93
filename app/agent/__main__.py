"""Start of the agent as a program of its own: ``python -m app.agent`` or a single-file package."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main(prog="muster-agent"))
