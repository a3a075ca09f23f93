"""The hot path's SQL, written out for both databases from one list of metrics.

`UPDATE`: heartbeats that change nothing but numbers. A row is updated only where the id and the key match (the key
stands for credential, boot, version, services and whatever else is no number), the server is connected, the sequence
rises, every reading stays in its quiet range (`health.conditions`) without a gap in what is pending, and the host's
history bucket is the present one.
`ROLL`: the same for the first heartbeat of a new bucket, which moves the filled one to `telemetry_buckets`.
Whatever matches neither changes nothing and is settled by `service.settle`.

This is the one place where the two databases differ in SQL.
"""

from app.health.readings import NEVER, UNKNOWN, Reading
from app.models import METRICS
from app.telemetry.queries import STATISTICS, merge_assignments, sample_assignments


def _readings(now: str, kind: str) -> str:
    """The readings that alerts look at, as columns; the formulas are those of `health.readings`, number by number."""

    def used(matter: str) -> str:
        taken, total = kind.format(f"total_{matter}_bytes - available_{matter}_bytes"), f"total_{matter}_bytes"
        return f"100.0 * {taken} / NULLIF({kind.format(total)}, 0)"

    upload = (
        "CASE WHEN pending_bytes = 0 THEN 0.0"
        f" WHEN throughput_bytes = 0 AND pending_bytes > 0 THEN {NEVER}"
        f" ELSE {kind.format('pending_bytes')} / {kind.format('throughput_bytes')} / 60.0 END"
    )
    return ",\n           ".join(
        f"COALESCE({formula}, {UNKNOWN}) AS {reading}"
        for reading, formula in zip(
            Reading,
            ("cpu_percentage", used("memory"), used("space"), upload, f"ABS({now} - agent_time)"),
            strict=True,
        )
    )


def _is_plain(host: str, close: str) -> str:
    """`close` is the moment since when a heartbeat before is no further away than the heartbeat timeout."""
    quiet = "".join(
        f"\n  AND beat.{reading} > {host}.quiet_{reading}_low AND beat.{reading} <= {host}.quiet_{reading}_high"
        for reading in Reading
    )
    return f"""{host}.id = beat.id
  AND {host}.heartbeat_key = beat.heartbeat_key
  AND {host}.sequence < beat.sequence
  AND {host}.connection_state || '' = 'Connected'
  AND ({host}.alert_due_at IS NULL OR {host}.last_heartbeat_at >= {close}){quiet}"""


def _latest(beat: str) -> str:
    return "".join(f",\n    {metric} = {beat}.{metric}" for metric in METRICS)


def _first(beat: str) -> str:
    """The statistics of a bucket's first value. A metric that is missing counts nothing."""
    return "".join(
        f",\n    {metric}_count = CASE WHEN {beat}.{metric} IS NULL THEN 0 ELSE 1 END"
        f", {metric}_sum = COALESCE({beat}.{metric}, 0), {metric}_min = {beat}.{metric}, {metric}_max = {beat}.{metric}"
        for metric in METRICS
    )


_KEPT = f"host_row_id, bucket, {', '.join(STATISTICS)}"
_HAS_VALUES = f"{' + '.join(f'{metric}_count' for metric in METRICS)} > 0"

_PG_COLUMNS = f"hex, heartbeat_key, sequence, {', '.join(METRICS)}, agent_time"
# $1 to $11 are the heartbeats' columns, $12 the moment, $13 its bucket, $14 the moment as Unix time, $15 the moment
# less the heartbeat timeout.
# OFFSET 0 keeps each reading from being worked out once per comparison.
_PG_BEATS = f"""(
    SELECT *, hex::uuid AS id,
           {_readings("$14::float8", "({})::float8")}
    FROM unnest(
        $1::text[], $2::bytea[], $3::bigint[], $4::float8[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
        $9::bigint[], $10::bigint[], $11::float8[]
    ) WITH ORDINALITY AS sent({_PG_COLUMNS}, position)
    OFFSET 0
) AS beat"""

# (`|| ''` keeps the partial index of connected hosts out: while statistics still say that nobody is connected, a scan
# of all who are would look cheaper.)
POSTGRESQL_UPDATE = f"""
UPDATE hosts AS h
SET sequence = beat.sequence,
    last_heartbeat_at = $12::timestamptz{_latest("beat")},
    {sample_assignments("h", "beat.{metric}")}
FROM {_PG_BEATS}
WHERE {_is_plain("h", "$15::timestamptz")}
  AND h.history_bucket = $13::bigint
  AND h.last_heartbeat_bucket = $13::bigint
RETURNING beat.position, h.generation
"""

POSTGRESQL_ROLL = f"""
WITH due AS (
    SELECT beat.*, h.history_bucket, {", ".join(f"h.{name}" for name in STATISTICS)}
    FROM {_PG_BEATS}
    JOIN hosts AS h ON {_is_plain("h", "$15::timestamptz")}
    WHERE h.history_bucket <> $13::bigint
    ORDER BY h.id
    FOR NO KEY UPDATE OF h
), kept AS (
    INSERT INTO telemetry_buckets ({_KEPT})
    SELECT id, history_bucket, {", ".join(STATISTICS)} FROM due WHERE {_HAS_VALUES}
    ON CONFLICT (host_row_id, bucket) DO UPDATE
    SET {merge_assignments("telemetry_buckets", "excluded")}
)
UPDATE hosts AS h
SET sequence = due.sequence,
    last_heartbeat_at = $12::timestamptz,
    last_heartbeat_bucket = $13::bigint,
    history_bucket = $13::bigint{_latest("due")}{_first("due")}
FROM due
WHERE h.id = due.id
RETURNING due.position, h.generation
"""

POSTGRESQL_KNOWN = "SELECT id FROM hosts WHERE id = ANY($1::uuid[])"
POSTGRESQL_FREE = f"{POSTGRESQL_KNOWN} ORDER BY id FOR NO KEY UPDATE SKIP LOCKED"

# One plan for good: each heartbeat in the order of the arrays, by the primary key. It is the best plan for every
# batch, it saves a third of the database's work to plan it once, and since batches are sorted it locks rows by
# rising id, so that batches of replicas never deadlock.
POSTGRESQL_PLAN = {
    "plan_cache_mode": "force_generic_plan",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "jit": "off",
}

_LITE_FIELDS = ["id", "heartbeat_key", "sequence", *METRICS, "agent_time"]
# ?1 is the batch as JSON, ?2 the moment, ?3 its bucket, ?4 the moment as Unix time, ?5 the moment less the timeout.
_LITE_BEATS = f"""(
    SELECT *,
           {_readings("?4", "CAST({} AS REAL)")}
    FROM (
        SELECT {", ".join(f"json_extract(value, '$[{at}]') AS {name}" for at, name in enumerate(_LITE_FIELDS))}
        FROM json_each(?1)
    )
) AS beat"""


def _for_sqlite(condition: str) -> str:
    return condition.replace("hosts.heartbeat_key =", "hex(hosts.heartbeat_key) =").replace(" || ''", "")


SQLITE_UPDATE = f"""
UPDATE hosts
SET sequence = beat.sequence,
    last_heartbeat_at = ?2{_latest("beat")},
    {sample_assignments("hosts", "beat.{metric}")}
FROM {_LITE_BEATS}
WHERE {_for_sqlite(_is_plain("hosts", "?5"))}
  AND hosts.history_bucket = ?3
  AND +hosts.last_heartbeat_bucket = ?3
RETURNING hosts.id, hosts.generation
"""

SQLITE_KEEP = f"""
INSERT INTO telemetry_buckets ({_KEPT})
SELECT hosts.id, hosts.history_bucket, {", ".join(f"hosts.{name}" for name in STATISTICS)}
FROM {_LITE_BEATS}
JOIN hosts ON {_for_sqlite(_is_plain("hosts", "?5"))}
WHERE hosts.history_bucket <> ?3 AND {_HAS_VALUES}
ON CONFLICT (host_row_id, bucket) DO UPDATE
SET {merge_assignments("telemetry_buckets", "excluded")}
"""

SQLITE_ROLL = f"""
UPDATE hosts
SET sequence = beat.sequence,
    last_heartbeat_at = ?2,
    last_heartbeat_bucket = ?3,
    history_bucket = ?3{_latest("beat")}{_first("beat")}
FROM {_LITE_BEATS}
WHERE {_for_sqlite(_is_plain("hosts", "?5"))}
  AND hosts.history_bucket <> ?3
RETURNING hosts.id, hosts.generation
"""
