"""Messages to systemd: readiness, status, watchdog. Does nothing where there is no systemd."""

import asyncio
import os
import socket


class ServiceNotifier:
    """Speaks the sd_notify protocol over the datagram socket that systemd names in ``NOTIFY_SOCKET``."""

    def __init__(self, address: str | None, watchdog_seconds: float | None = None) -> None:
        """Take the socket's address (a leading ``@`` means an abstract one) and the watchdog's period."""
        self._address = address
        self._watchdog_seconds = watchdog_seconds

    @classmethod
    def from_environment(cls) -> "ServiceNotifier":
        """Return the notifier for this process, as systemd's variables describe it."""
        return cls(os.environ.get("NOTIFY_SOCKET"), _watchdog_seconds())

    @property
    def watchdog_interval_seconds(self) -> float | None:
        """Seconds between two signs of life: half the period systemd allows, None without a watchdog."""
        return None if self._watchdog_seconds is None else self._watchdog_seconds / 2

    def send(self, *assignments: str) -> bool:
        """Send assignments such as ``READY=1`` in one message and return whether it was sent.

        A service manager that can not be reached is no reason for an agent to fail.
        """
        unix = getattr(socket, "AF_UNIX", None)
        if not self._address or unix is None:
            return False
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(unix, socket.SOCK_DGRAM) as channel:
                channel.setblocking(False)
                channel.connect(address)
                channel.sendall("\n".join(assignments).encode())
        except OSError:
            return False
        return True

    def ready(self) -> None:
        """Tell that the agent has started."""
        self.send("READY=1", "STATUS=Started")

    def status(self, text: str) -> None:
        """Show one line in ``systemctl status``."""
        self.send("STATUS=" + " ".join(text.split()))

    def stopping(self) -> None:
        """Tell that the agent is on its way out."""
        self.send("STOPPING=1", "STATUS=Stopping")

    async def feed_watchdog(self) -> None:
        """Send a sign of life at half the watchdog's period until cancelled; returns at once without one."""
        interval = self.watchdog_interval_seconds
        if interval is None or not self._address:
            return
        while True:
            self.send("WATCHDOG=1")
            await asyncio.sleep(interval)


def _watchdog_seconds() -> float | None:
    meant_for = os.environ.get("WATCHDOG_PID")
    if meant_for and meant_for != str(os.getpid()):
        return None
    try:
        microseconds = int(os.environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return microseconds / 1_000_000 if microseconds > 0 else None
