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
MONITOR_LEADER = Gauge(
    "muster_monitor_leader", "1 where this process watches for silence.", multiprocess_mode="livesum"
)
CLOCK_CORRECTION = Gauge(
    "muster_clock_correction_seconds", "Last correction of this process's clock.", multiprocess_mode="livemax"
)
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
