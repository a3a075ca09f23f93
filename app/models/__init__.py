"""The tables.

vaults
|- registration_keys                    let configuration servers in
|- configuration_servers ---- hosts     what an agent is; one narrow row that heartbeats update
|  |- process_servers ------- hosts     (an inbuilt process server shares its configuration server's host)
|  |  `- source_machines
|- events, event_counters               the record of what happened
|- jobs, job_waits                      long-running operations, and whom they wait for
|- notification_channels                webhooks and mail subscriptions; each has a cursor into the events
|  `- notification_deliveries           the outbox, then the delivery log
|- brakes                               sites that fell silent at once, whose hosts are held as Unknown
`- tombstones                           removed servers, so that their agents learn of it

alerts                                  what fires and what fired, on which server
health_policies                         what a vault changes of the rules
telemetry_buckets                       five-minute history of each host; the latest bucket is in the host's row

api_tokens                              operators' access; one vault or all
issued_credentials                      agent credentials handed out and not yet used
failed_registrations                    for the rate limit
idempotent_answers                      answers to repeated POSTs
releases                                the release catalogue
expiry_notices                          which notices of certificates and releases were given
monitor_watermark, outages              how far silence has been observed
"""

from app.models.access import (
    ApiToken,
    FailedRegistration,
    IdempotentAnswer,
    IssuedCredential,
    RegistrationKey,
)
from app.models.alerts import Alert, HealthPolicy
from app.models.base import Base
from app.models.brakes import Brake
from app.models.notifications import ExpiryNotice, NotificationChannel, NotificationDelivery
from app.models.record import Event, EventCounter, Job, JobWait, MonitorWatermark, Outage, Tombstone
from app.models.releases import Release
from app.models.servers import ConfigurationServer, Host, ProcessServer, SourceMachine, Vault
from app.models.telemetry import METRICS, TelemetryBucket

__all__ = [
    "METRICS",
    "Alert",
    "ApiToken",
    "Base",
    "Brake",
    "ConfigurationServer",
    "Event",
    "EventCounter",
    "ExpiryNotice",
    "FailedRegistration",
    "HealthPolicy",
    "Host",
    "IdempotentAnswer",
    "IssuedCredential",
    "Job",
    "JobWait",
    "MonitorWatermark",
    "NotificationChannel",
    "NotificationDelivery",
    "Outage",
    "ProcessServer",
    "RegistrationKey",
    "Release",
    "SourceMachine",
    "TelemetryBucket",
    "Tombstone",
    "Vault",
]
