"""Every enum and constant that tables, wire and rules share. Standard library only.

Names follow Azure Site Recovery's public vocabulary where it has a word for the thing.
"""

from enum import StrEnum

BYTES_PER_GB = 2**30
"""Sizes are binary: 1 GB = 2^30 bytes, 1 TB = 1024 GB."""

DEFAULT_DATA_TRANSFER_PORT = 9443
"""Unified Setup's default for /DataTransferSecurePort (the wizard's value; one public table says 9433)."""

CONTROL_PORT = 443
"""Control traffic's port; replication data must not use it."""

REGISTRATION_KEY_VALID_DAYS = 5
"""Azure's vault credentials file is valid for five days."""

CERTIFICATE_VALID_DAYS = 3 * 365
"""A configuration server's TLS certificate expires after three years."""

HEARTBEATS_PER_TIMEOUT = 5
"""The interval an agent is asked for never exceeds the timeout divided by this."""

TICKS_PER_TIMEOUT = 4
"""The monitor looks at least this often within one timeout."""

WINDOWS_PER_TIMEOUT = 3
"""The window in which servers fall silent at once never exceeds the timeout divided by this."""

SUPPORTED_MINORS_BACK = 4
"""Support is N-4: a version whose minor is more than this below the newest release's is out of support."""

MINORS_PER_UPGRADE = 4
"""One upgrade leads over at most this many minors, and a mobility agent needs a reboot only beyond them."""


class Role(StrEnum):
    """What an API token may do; each role includes the ones before it."""

    READER = "reader"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: "Role") -> bool:
        """Whether this role grants everything that `other` grants."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class ServerKind(StrEnum):
    """The process server kinds: on the configuration server, standalone on premises, temporary in Azure."""

    INBUILT = "inbuilt"
    SCALE_OUT = "scaleOut"
    FAILBACK = "failback"


class ServerTier(StrEnum):
    """The rows of the sizing tables, from the smallest server to the largest."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


class SizingStrategy(StrEnum):
    """Few large servers, or more of the small ones."""

    SCALE_UP = "scaleUp"
    SCALE_OUT = "scaleOut"


class RebalanceGoal(StrEnum):
    """What a rebalance plan is for: even utilisation, one server without machines, or one that takes its part."""

    BALANCE = "balance"
    EMPTY = "empty"
    USE_NEW = "useNew"


class Placement(StrEnum):
    """Where a process server is to be added."""

    ON_PREMISES = "onPremises"
    AZURE = "azure"


class ConnectionState(StrEnum):
    """Derived from the age of the last heartbeat; a server that never sent one is disconnected.

    `Unknown` is silent for the timeout as well, but with so many others at once that a lost link is as likely as a
    lost server: a brake holds it there for a bounded time. It counts as neither connected nor dead.
    """

    CONNECTED = "Connected"
    DISCONNECTED = "Disconnected"
    UNKNOWN = "Unknown"


class BrakeState(StrEnum):
    """The life of a mass-disconnect brake."""

    HOLDING = "Holding"
    LETTING_GO = "LettingGo"
    OVER = "Over"


class BrakeRelease(StrEnum):
    """Why a brake let go: its time was up, an operator acknowledged it, or none of its servers is silent any more."""

    EXPIRED = "expired"
    ACKNOWLEDGED = "acknowledged"
    RETURNED = "returned"


class Health(StrEnum):
    """The worst alert that is firing."""

    HEALTHY = "Healthy"
    WARNING = "Warning"
    CRITICAL = "Critical"


class VersionStatus(StrEnum):
    """Azure's `AgentVersionStatus`, from best to worst; the worst that applies is shown."""

    SUPPORTED = "Supported"
    DEPRECATED = "Deprecated"
    UPDATE_REQUIRED = "UpdateRequired"
    SECURITY_UPDATE_REQUIRED = "SecurityUpdateRequired"
    NOT_SUPPORTED = "NotSupported"


class UpgradeComponent(StrEnum):
    """What is upgraded, in the order in which it has to be."""

    CONFIGURATION_SERVER = "configuration-server"
    PROCESS_SERVER = "process-server"
    MOBILITY_AGENT = "mobility-agent"


class Severity(StrEnum):
    """How much an event or an alert wants attention."""

    INFORMATION = "Information"
    WARNING = "Warning"
    CRITICAL = "Critical"


class AlertCode(StrEnum):
    """What an alert is about; each has its rule in `health.rules` and its texts in `health.causes`."""

    CPU_UTILISATION = "cpu-utilisation"
    MEMORY_USAGE = "memory-usage"
    CACHE_FREE_SPACE = "cache-free-space"
    REPLICATION_THROTTLED = "replication-throttled"
    PENDING_UPLOAD = "pending-upload"
    SERVICES_STOPPED = "services-stopped"
    CLOCK_SKEW = "clock-skew"
    HEARTBEAT_MISSING = "heartbeat-missing"
    CONNECTION_UNKNOWN = "connection-unknown"
    VERSION_ABOVE_CONFIGURATION_SERVER = "version-above-configuration-server"
    VERSION_NOT_SUPPORTED = "version-not-supported"
    CERTIFICATE_EXPIRING = "certificate-expiring"


class AlertState(StrEnum):
    """Whether an alert's condition holds now, or ended."""

    FIRING = "firing"
    CLEARED = "cleared"


class ChannelKind(StrEnum):
    """How notifications leave."""

    WEBHOOK = "webhook"
    MAIL = "mail"


class DeliveryKind(StrEnum):
    """What a delivery carries: one event, many like events of one site in one, or a test on request."""

    EVENT = "event"
    DIGEST = "digest"
    TEST = "test"


class DeliveryState(StrEnum):
    """The life of a delivery; all but the first are final."""

    PENDING = "Pending"
    DELIVERED = "Delivered"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class Component(StrEnum):
    """What can expire on a server."""

    CERTIFICATE = "certificate"
    SUPPORT = "support"


class ServiceState(StrEnum):
    """The Windows service states an agent may report."""

    RUNNING = "Running"
    STOPPED = "Stopped"
    START_PENDING = "StartPending"
    STOP_PENDING = "StopPending"
    PAUSED = "Paused"
    NOT_INSTALLED = "NotInstalled"
    UNKNOWN = "Unknown"


class OsType(StrEnum):
    """Operating system families an agent runs on."""

    WINDOWS = "Windows"
    LINUX = "Linux"


class JobType(StrEnum):
    """Long-running operations."""

    DECOMMISSION = "decommission"
    PURGE = "purge"
    LOAD_BALANCE = "load-balance"
    SWITCH = "switch"
    REBALANCE = "rebalance"
    REFRESH = "refresh"
    RENEW_CERTIFICATE = "renew-certificate"


class JobState(StrEnum):
    """The life of a job; the last three are final."""

    QUEUED = "Queued"
    IN_PROGRESS = "InProgress"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


OPEN_JOB_STATES = (JobState.QUEUED, JobState.IN_PROGRESS)

MOVING_JOBS = (JobType.LOAD_BALANCE, JobType.SWITCH, JobType.REBALANCE)
"""Their machines have moved in the transaction that made the job; while it is open, only a target's agent has yet to
observe it. So they keep nobody from removing the server that the machines left."""

ASKING_JOBS = (JobType.REFRESH, JobType.RENEW_CERTIFICATE)
"""What a configuration server's agent is asked to do; nothing has happened until it has observed it."""


class ResourceKind(StrEnum):
    """What an event, a lock or a tombstone speaks of."""

    VAULT = "vault"
    CONFIGURATION_SERVER = "configuration-server"
    PROCESS_SERVER = "process-server"
    REGISTRATION_KEY = "registration-key"
    SOURCE_MACHINE = "source-machine"
    JOB = "job"
    WEBHOOK = "webhook"
    MAIL_SUBSCRIPTION = "mail-subscription"


class EventType(StrEnum):
    """`<kind>.<what happened>`; each value has its meaning in `events.meanings`."""

    VAULT_CREATED = "vault.created"
    VAULT_UPDATED = "vault.updated"
    VAULT_HEALTH_POLICY_CHANGED = "vault.health-policy-changed"
    VAULT_DELETED = "vault.deleted"
    VAULT_BRAKE_ENGAGED = "vault.brake-engaged"
    VAULT_BRAKE_RELEASED = "vault.brake-released"
    REGISTRATION_KEY_CREATED = "registration-key.created"
    REGISTRATION_KEY_REVOKED = "registration-key.revoked"
    CONFIGURATION_SERVER_REGISTERED = "configuration-server.registered"
    CONFIGURATION_SERVER_RE_REGISTERED = "configuration-server.re-registered"
    CONFIGURATION_SERVER_UPDATED = "configuration-server.updated"
    CONFIGURATION_SERVER_CONNECTED = "configuration-server.connected"
    CONFIGURATION_SERVER_DISCONNECTED = "configuration-server.disconnected"
    CONFIGURATION_SERVER_UPGRADED = "configuration-server.upgraded"
    CONFIGURATION_SERVER_PASSPHRASE_CHANGED = "configuration-server.passphrase-changed"
    CONFIGURATION_SERVER_DUPLICATE_IDENTITY = "configuration-server.duplicate-identity"
    CONFIGURATION_SERVER_ALERT_RAISED = "configuration-server.alert-raised"
    CONFIGURATION_SERVER_ALERT_CLEARED = "configuration-server.alert-cleared"
    CONFIGURATION_SERVER_DELETED = "configuration-server.deleted"
    CONFIGURATION_SERVER_BRAKE_ENGAGED = "configuration-server.brake-engaged"
    CONFIGURATION_SERVER_BRAKE_RELEASED = "configuration-server.brake-released"
    PROCESS_SERVER_REGISTERED = "process-server.registered"
    PROCESS_SERVER_RE_REGISTERED = "process-server.re-registered"
    PROCESS_SERVER_UPDATED = "process-server.updated"
    PROCESS_SERVER_CONNECTED = "process-server.connected"
    PROCESS_SERVER_DISCONNECTED = "process-server.disconnected"
    PROCESS_SERVER_UPGRADED = "process-server.upgraded"
    PROCESS_SERVER_DUPLICATE_IDENTITY = "process-server.duplicate-identity"
    PROCESS_SERVER_ALERT_RAISED = "process-server.alert-raised"
    PROCESS_SERVER_ALERT_CLEARED = "process-server.alert-cleared"
    PROCESS_SERVER_DELETED = "process-server.deleted"
    PROCESS_SERVER_DECOMMISSION_REQUESTED = "process-server.decommission-requested"
    PROCESS_SERVER_DECOMMISSIONED = "process-server.decommissioned"
    PROCESS_SERVER_DECOMMISSION_FAILED = "process-server.decommission-failed"
    PROCESS_SERVER_PURGED = "process-server.purged"
    PROCESS_SERVER_READMITTED = "process-server.readmitted"
    PROCESS_SERVER_TAKEOVER_APPROVED = "process-server.takeover-approved"
    PROCESS_SERVER_TAKEN_OVER = "process-server.taken-over"
    PROCESS_SERVER_LOAD_BALANCED = "process-server.load-balanced"
    PROCESS_SERVER_SWITCHED = "process-server.switched"
    PROCESS_SERVER_MAINTENANCE_ENDED = "process-server.maintenance-ended"
    CONFIGURATION_SERVER_REBALANCED = "configuration-server.rebalanced"
    CONFIGURATION_SERVER_REFRESH_REQUESTED = "configuration-server.refresh-requested"
    CONFIGURATION_SERVER_REFRESHED = "configuration-server.refreshed"
    CONFIGURATION_SERVER_CERTIFICATE_RENEWAL_REQUESTED = "configuration-server.certificate-renewal-requested"
    CONFIGURATION_SERVER_CERTIFICATE_RENEWED = "configuration-server.certificate-renewed"
    JOB_FAILED = "job.failed"
    SOURCE_MACHINE_REGISTERED = "source-machine.registered"
    SOURCE_MACHINE_UPDATED = "source-machine.updated"
    SOURCE_MACHINE_MOVED = "source-machine.moved"
    SOURCE_MACHINE_DELETED = "source-machine.deleted"
    JOB_CANCELLED = "job.cancelled"
    CONFIGURATION_SERVER_CERTIFICATE_EXPIRING = "configuration-server.certificate-expiring"
    CONFIGURATION_SERVER_SUPPORT_ENDING = "configuration-server.support-ending"
    PROCESS_SERVER_SUPPORT_ENDING = "process-server.support-ending"
    WEBHOOK_CREATED = "webhook.created"
    WEBHOOK_UPDATED = "webhook.updated"
    WEBHOOK_DELETED = "webhook.deleted"
    WEBHOOK_SECRET_ROTATED = "webhook.secret-rotated"
    WEBHOOK_DISABLED = "webhook.disabled"
    WEBHOOK_EVENTS_MISSED = "webhook.events-missed"
    MAIL_SUBSCRIPTION_CREATED = "mail-subscription.created"
    MAIL_SUBSCRIPTION_UPDATED = "mail-subscription.updated"
    MAIL_SUBSCRIPTION_DELETED = "mail-subscription.deleted"
    MAIL_SUBSCRIPTION_DISABLED = "mail-subscription.disabled"
    MAIL_SUBSCRIPTION_EVENTS_MISSED = "mail-subscription.events-missed"
