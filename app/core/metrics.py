"""What Prometheus can scrape at /metrics.

Counters, histograms and gauges are kept by the process that counts; where a server has several workers, they are put
together when scraped, as `multiprocess_mode` says. A `Reading` is kept by nobody: it is read when Prometheus asks,
most of them from the database, where each worker and each replica finds the same. So a reading is never summed over
workers, and a query takes the maximum over replicas, not the sum.

A label has few values, whatever clients do: each combination is a series that Prometheus keeps.
"""

from typing import NamedTuple

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily

HTTP_REQUESTS = Counter("muster_http_requests", "Requests answered.", ["method", "route", "status"])
HTTP_SECONDS = Histogram("muster_http_request_seconds", "Seconds until the answer was sent.", ["method", "route"])
HEARTBEATS_ACCEPTED = Counter("muster_heartbeats_accepted", "Heartbeats that are in the database.")
HEARTBEATS_REFUSED = Counter("muster_heartbeats_refused", "Heartbeats that were refused.", ["reason"])
HEARTBEAT_BATCH_SIZE = Histogram(
    "muster_heartbeat_batch_size",
    "Heartbeats in one commit.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)
HEARTBEAT_COMMIT_SECONDS = Histogram(
    "muster_heartbeat_commit_seconds",
    "Seconds that a batch of heartbeats took to commit.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
HEARTBEAT_QUEUE = Gauge(
    "muster_heartbeat_queue", "Heartbeats left waiting when the last batch was taken.", multiprocess_mode="livesum"
)
HEARTBEAT_QUEUE_LIMIT = Gauge(
    "muster_heartbeat_queue_limit", "Heartbeats that may wait before new ones get 503.", multiprocess_mode="livesum"
)
SWEEP_SECONDS = Histogram("muster_monitor_sweep_seconds", "Seconds that one look for silent servers took.")
SERVERS_DISCONNECTED = Counter("muster_servers_disconnected", "Hosts that became Disconnected.")
BRAKE_ENGAGEMENTS = Counter("muster_brake_engagements", "Sites that fell silent at once, so that a brake engaged.")
BRAKE_HELD_SERVERS = Gauge(
    "muster_brake_held_servers",
    "Servers that brakes hold as Unknown, told by the process that watches for silence.",
    multiprocess_mode="livesum",
)
MONITOR_LEADER = Gauge(
    "muster_monitor_leader", "1 where this process watches for silence.", multiprocess_mode="livesum"
)
CLOCK_CORRECTION = Gauge(
    "muster_clock_correction_seconds", "Size of this process's last clock correction.", multiprocess_mode="livemax"
)
BACKGROUND_FAILURES = Counter(
    "muster_background_task_failures", "Runs of a background task that failed; each is tried again.", ["task"]
)
BACKGROUND_LAST_SUCCESS = Gauge(
    "muster_background_task_last_success_timestamp_seconds",
    "Unix time of the task's last run that worked, at first of the start; of several workers the earliest.",
    ["task"],
    multiprocess_mode="livemin",
)
DATABASE_CONNECTIONS_IN_USE = Gauge(
    "muster_database_connections_in_use", "Connections of the pool that are taken.", multiprocess_mode="livesum"
)
DATABASE_CONNECTIONS_LIMIT = Gauge(
    "muster_database_connections_limit", "Connections that the pool may open.", multiprocess_mode="livesum"
)
WORKERS = Gauge("muster_workers", "Worker processes that serve.", multiprocess_mode="livesum")
PROCESS_START = Gauge(
    "muster_process_start_time_seconds",
    "Unix time at which the process started; of several workers the latest.",
    multiprocess_mode="livemax",
)


class Reading(NamedTuple):
    """A gauge that is read when Prometheus asks."""

    name: str
    documentation: str
    labels: tuple[str, ...] = ()

    def family(self) -> GaugeMetricFamily:
        """An empty family, to add values to."""
        return GaugeMetricFamily(self.name, self.documentation, labels=self.labels)


BUILD_INFO = Reading(
    "muster_build_info", "Always 1; the labels tell what runs.", ("version", "python_version", "database")
)
TLS_CERTIFICATE_EXPIRY = Reading(
    "muster_tls_certificate_expiry_timestamp_seconds",
    "Unix time at which the HTTPS certificate that was read at start expires.",
)
DATABASE_UP = Reading("muster_database_up", "1 where the database answers, 0 where it does not.")
MONITOR_LAG = Reading(
    "muster_monitor_lag_seconds", "Seconds since any replica last looked for silent servers, by the database's clock."
)
VAULTS = Reading("muster_vaults", "Vaults.")
SERVERS = Reading(
    "muster_servers",
    "Process servers; every configuration server has one of kind `inbuilt`.",
    ("vault", "kind", "connection_state", "health"),
)
ALERTS = Reading(
    "muster_alerts", "Alerts that fire, without those that maintenance mutes.", ("vault", "code", "severity")
)
SOURCE_MACHINES = Reading("muster_source_machines", "Source machines.", ("vault",))
SOURCE_MACHINE_CHURN = Reading(
    "muster_source_machine_churn_bytes_per_day", "Bytes a day that all source machines together change.", ("vault",)
)
CERTIFICATE_EXPIRY = Reading(
    "muster_configuration_server_certificate_expiry_timestamp_seconds",
    "Unix time at which the first certificate of a configuration server expires.",
    ("vault",),
)
EVENT_STREAMS = Gauge("muster_event_streams", "Event streams that are open.", multiprocess_mode="livesum")
EVENTS_STREAMED = Counter("muster_events_streamed", "Events sent to streams.")
EVENT_READS = Counter(
    "muster_event_reads",
    "Reads of the record for streams: `head` for all of a vault, `behind` for one, `check` for lost notices.",
    ["reason"],
)
for reason in ("head", "behind", "check"):
    # There from the start, so that a rate over them begins at 0.
    EVENT_READS.labels(reason)
DELIVERIES = Counter(
    "muster_deliveries", "Attempts to deliver a notification, by how they ended.", ["channel", "outcome"]
)
DELIVERY_SECONDS = Histogram(
    "muster_delivery_seconds",
    "Seconds that one attempt to deliver took.",
    ["channel"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
DELIVERY_QUEUE = Gauge(
    "muster_delivery_queue",
    "Notifications waiting to be delivered, counted in the database.",
    ["channel"],
    multiprocess_mode="livemostrecent",
)
