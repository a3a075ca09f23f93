"""Structured logs: one line an event, with the request id where there is one."""

import logging
import re
import sys
from typing import Any

import structlog

from app.core.setting_types import LogFormat, LogLevel
from app.core.tracing import into_log

_SECRET_KEYS = re.compile(r"passphrase|credential|secret|token$|authorization|registration_?key$", re.IGNORECASE)
_SECRETS = re.compile(
    r"\b[0-9a-f]{32}\.[A-Za-z0-9_-]{20,}"  # id.secret
    r"|\b[a-z2-7]{4}(?:-[a-z2-7]{4}){7}\b"  # a passphrase
    r"|\bwhsec_[A-Za-z0-9+/=_-]+",  # a webhook's secret
    re.IGNORECASE,
)
REDACTED = "[redacted]"


def redact(_logger: Any, _method: str, entry: dict[str, Any]) -> dict[str, Any]:
    """The last net: values under secret names, and anything shaped like a secret, never reach a log line."""
    for key, value in entry.items():
        entry[key] = REDACTED if _is_secret(key, value) else _redacted(value)
    return entry


def _is_secret(key: Any, value: Any) -> bool:
    return value is not None and isinstance(key, str) and _SECRET_KEYS.search(key) is not None


def without_secrets(text: str) -> str:
    """`text` without anything that is shaped like a secret, for what others have written."""
    return _SECRETS.sub(REDACTED, text)


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, dict):
        return {key: REDACTED if _is_secret(key, inner) else _redacted(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(inner) for inner in value]
    return value


def configure(log_format: LogFormat, level: LogLevel) -> None:
    """Send structlog's and the standard library's records through one formatter to standard error."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        into_log,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: Any = structlog.processors.JSONRenderer()
    if log_format is LogFormat.CONSOLE:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.value.upper())
    logging.getLogger("uvicorn.access").disabled = True
    for noisy in ("aiosqlite", "alembic", "asyncio", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
