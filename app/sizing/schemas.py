"""Sizing on the wire. Sizes are binary bytes: 1 GB = 2^30 bytes, 1 TB = 1024 GB."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from app.core.wire import Bytes, Storable, WireIn, WireOut, with_example
from app.vocabulary import ServerKind, ServerTier, SizingStrategy

MAX_MACHINES = 20_000
"""The longest list that is sized."""
MAX_TOTAL_MACHINES = 100_000
MAX_TOTAL_CHURN = 2**53
"""The largest totals that are sized, growth included; 2^53 bytes are 8192 TB a day."""
MAX_GROWTH = 1_000
MAX_DISKS = 1_000

_GB = 2**30


def _disks(value: Any) -> Any:
    # The number alone, as a list of machines often has it.
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_DISKS:
        return [{} for _ in range(value)]
    return value


class SizingDisk(WireIn):
    """A disk of a machine."""

    size_in_bytes: Bytes | None = None


class SizingMachine(WireIn):
    """A source machine to be protected. A machine of which only the totals are known needs no entry."""

    name: Annotated[
        str, Storable, Field(min_length=1, max_length=255, description="Unique in the list, whatever its case.")
    ]
    churn_in_bytes_per_day: Annotated[Bytes, Field(description="What it changes in a day.")]
    disks: Annotated[
        list[SizingDisk],
        BeforeValidator(_disks, json_schema_input_type=int | list[SizingDisk]),
        Field(
            max_length=MAX_DISKS,
            description="The disks, or their number. The tables assume 3 of 100 GB; more are pointed out.",
        ),
    ] = []


class SizingRequest(WireIn):
    """Either `machines`, or both totals."""

    model_config = with_example({"sourceMachines": 220, "churnInBytesPerDay": 500 * _GB, "growthPercentage": 0})

    source_machines: (
        Annotated[
            int, Field(strict=True, ge=1, le=MAX_TOTAL_MACHINES, description="How many source machines there are.")
        ]
        | None
    ) = None
    churn_in_bytes_per_day: (
        Annotated[int, Field(strict=True, ge=0, le=MAX_TOTAL_CHURN, description="What they change in a day together.")]
        | None
    ) = None
    machines: (
        Annotated[
            list[SizingMachine],
            Field(min_length=1, max_length=MAX_MACHINES, description="The machines one by one; each is then assigned."),
        ]
        | None
    ) = None
    growth_percentage: Annotated[
        float,
        Field(strict=True, ge=0, le=MAX_GROWTH, description="Expected growth of machines and churn; rounded up."),
    ] = 0
    strategy: Annotated[SizingStrategy | None, Field(description="One of them; left out, both are answered.")] = None
    use_inbuilt_process_server: Annotated[
        bool, Field(strict=True, description="Let the inbuilt process servers take load before others are counted.")
    ] = False


class LoadView(WireOut):
    """A number of machines and their churn together."""

    source_machines: int
    churn_in_bytes_per_day: int


class NotProtectableView(WireOut):
    """A machine that no process server can carry. `name` is null where only totals were given."""

    name: str | None
    churn_in_bytes_per_day: int
    reason: str


class ConfigurationServersView(WireOut):
    """Configuration servers of one size."""

    cpu_count: int
    memory_in_bytes: int
    cache_disk_in_bytes: int
    count: int
    uses_inbuilt_process_server: bool


class ProcessServersView(WireOut):
    """Process servers of one tier."""

    tier: ServerTier
    cpu_count: int
    memory_in_bytes: int
    cache_disk_in_bytes: int
    count: int


class AssignmentView(WireOut):
    """What one process server carries, growth included. Numbers count from 1.

    An inbuilt process server has neither a number nor a tier of its own; `machines` is null where only totals were
    given.
    """

    process_server: int | None
    configuration_server: int
    kind: ServerKind
    tier: ServerTier | None
    cpu_count: int
    machines: list[str] | None
    source_machine_count: int
    churn_in_bytes_per_day: int
    headroom: LoadView


class OptionView(WireOut):
    """One way to carry the load.

    `lowerBound`: fewer process servers are not possible with this strategy; `gap`: how many more these are.
    `cpuCount` counts the vCPUs that carry load, `cpuCountLowerBound` is the least that arithmetic allows: for
    `scaleUp` with this number of servers, for `scaleOut` with any, null where inbuilt process servers share the load.
    """

    strategy: SizingStrategy
    configuration_servers: list[ConfigurationServersView]
    process_servers: list[ProcessServersView]
    assignments: list[AssignmentView]
    lower_bound: int
    gap: int
    cpu_count: int
    cpu_count_lower_bound: int | None
    reasons: list[str]


class SizingRecommendation(WireOut):
    """The answer: `load` is what was sized for, growth included and without what is not protectable."""

    model_config = with_example(
        {
            "additionalProcessServersNeeded": True,
            "load": {"sourceMachines": 220, "churnInBytesPerDay": 500 * _GB},
            "notProtectable": [],
            "options": [
                {
                    "strategy": "scaleUp",
                    "configurationServers": [
                        {
                            "cpuCount": 12,
                            "memoryInBytes": 18 * _GB,
                            "cacheDiskInBytes": 600 * _GB,
                            "count": 1,
                            "usesInbuiltProcessServer": False,
                        }
                    ],
                    "processServers": [
                        {
                            "tier": "large",
                            "cpuCount": 12,
                            "memoryInBytes": 24 * _GB,
                            "cacheDiskInBytes": 1024 * _GB,
                            "count": 1,
                        }
                    ],
                    "assignments": [
                        {
                            "processServer": 1,
                            "configurationServer": 1,
                            "kind": "scaleOut",
                            "tier": "large",
                            "cpuCount": 12,
                            "machines": None,
                            "sourceMachineCount": 220,
                            "churnInBytesPerDay": 500 * _GB,
                            "headroom": {"sourceMachines": 5, "churnInBytesPerDay": 1548 * _GB},
                        }
                    ],
                    "lowerBound": 1,
                    "gap": 0,
                    "cpuCount": 12,
                    "cpuCountLowerBound": 12,
                    "reasons": ["sized for 220 machines with 500 GB a day, without growth"],
                }
            ],
        }
    )

    additional_process_servers_needed: bool
    load: LoadView
    not_protectable: list[NotProtectableView]
    options: list[OptionView]
