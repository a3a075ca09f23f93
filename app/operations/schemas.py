"""Liveness and readiness on the wire."""

from app.core.wire import EXAMPLE_TIME, Moment, WireOut, with_example


class Alive(WireOut):
    """The process answers."""

    model_config = with_example({"status": "alive"})

    status: str


class Ready(WireOut):
    """The process can serve."""

    model_config = with_example(
        {
            "status": "ready",
            "version": "0.1.0",
            "revision": "0001",
            "observedUntil": EXAMPLE_TIME,
            "serverTime": EXAMPLE_TIME,
        }
    )

    status: str
    version: str
    revision: str
    observed_until: Moment
    server_time: Moment
