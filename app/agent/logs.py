"""The agent's log on standard error: lines for people, or JSON for machines."""

import json
import logging
import sys
from datetime import datetime, timezone

from .clock import rfc3339


class JsonFormatter(logging.Formatter):
    """One JSON object to a line: time, level, logger, message and, after an error, the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line = {
            "time": rfc3339(datetime.fromtimestamp(record.created, timezone.utc)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class ConsoleFormatter(logging.Formatter):
    """Time, level and message, readable in a terminal and in the journal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        time = rfc3339(datetime.fromtimestamp(record.created, timezone.utc))
        line = f"{time} {record.levelname.lower():<7} {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def set_up_logging(level: str, log_format: str) -> None:
    """Send the agent's records of ``level`` and above to standard error, as ``console`` or ``json``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else ConsoleFormatter())
    agent = logging.getLogger("muster.agent")
    agent.handlers[:] = [handler]
    agent.propagate = False
    agent.setLevel(level.upper())
    # The HTTP libraries trace headers at their lower levels, and the credential is one.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
