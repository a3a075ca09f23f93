"""What Prometheus can scrape at /metrics."""

from prometheus_client import Counter, Gauge, Histogram

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
HEARTBEAT_QUEUE = Gauge("muster_heartbeat_queue", "Heartbeats waiting for a commit.", multiprocess_mode="livesum")
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
    "muster_clock_correction_seconds", "Last correction of this process's clock.", multiprocess_mode="livemax"
)
