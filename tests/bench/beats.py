"""The heartbeats a load generator sends, and what it says about them afterwards."""

import json
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

PATH = "/agent/v1/heartbeat"
_SEQUENCE = 987_654_321
_PENDING_BYTES = 123_456_789_012


@dataclass(frozen=True)
class Host:
    """A registered host: its row, and the credential its agent shows."""

    id: uuid.UUID
    credential: str


@dataclass(frozen=True)
class LoadPlan:
    """What a load generator is to do; it travels to the generator's process as a file."""

    port: int
    credentials: list[str]
    connections: int
    seconds: int
    first_sequence: int
    boot_id: str

    def write(self, file: Path) -> None:
        """Write the plan, for the eyes of this user only: it holds credentials."""
        file.touch(mode=0o600)
        file.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read what `write` wrote."""
        return cls(**json.loads(file.read_text()))


@dataclass(frozen=True)
class LoadResult:
    """What a load generator saw: answers with 200 are acknowledged, everything else failed."""

    acknowledged: int
    failed: int
    seconds: float
    p50_milliseconds: float
    p99_milliseconds: float
    last_acknowledged: list[int] | None = None
    """The highest acknowledged sequence of each host, where the generator keeps track of it."""
    generator_busy: float = 0.0
    """The part of one CPU the generator used; near 1 it is the generator that sets the pace."""

    @property
    def per_second(self) -> float:
        """Acknowledged heartbeats per second."""
        return self.acknowledged / self.seconds


def body_parts(boot_id: str) -> tuple[str, str, str]:
    """Return a heartbeat's body as text before, between and after its sequence and its pending upload.

    The pending upload changes with each heartbeat too, so that no two of a host's heartbeats say the same.
    """
    body = {
        "bootId": boot_id,
        "sequence": _SEQUENCE,
        "agentVersion": "9.62.7096.1",
        "ipAddresses": ["10.150.24.120"],
        "observedGeneration": 1,
        "telemetry": {
            "cpuPercentage": 37.5,
            "totalMemoryInBytes": 12884901888,
            "availableMemoryInBytes": 6442450944,
            "totalSpaceInBytes": 644245094400,
            "availableSpaceInBytes": 322122547200,
            "throughputInBytes": 52428800,
            "throughputUploadPendingDataInBytes": _PENDING_BYTES,
        },
        "services": {"ProcessServer": "Running", "tmansvc": "Running"},
    }
    before, rest = json.dumps(body, separators=(",", ":")).split(str(_SEQUENCE))
    between, after = rest.split(str(_PENDING_BYTES))
    return before, between, after


def head_parts(port: int) -> tuple[str, str]:
    """Return the text of a request's head before its credential, and from there to the length of its body."""
    before = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer "
    after = "\r\nContent-Type: application/json\r\nAccept: */*\r\nUser-Agent: muster-bench\r\nContent-Length: "
    return before, after
