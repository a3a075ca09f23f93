"""Errors for right requests that the present state does not allow: 409."""

from app.core.errors.base import Conflict


class NameTaken(Conflict):
    """A sibling has the name."""

    code = "name-taken"
    title = "The name is taken"


class ReleaseExists(Conflict):
    """The catalogue has the release, and it is not withdrawn."""

    code = "release-exists"
    title = "The release is in the catalogue"


class NameAmbiguous(Conflict):
    """Several servers of the vault have the name; `candidates` lists them."""

    code = "name-ambiguous"
    title = "The name is not unique in the vault"


class VaultNotEmpty(Conflict):
    """The vault still holds configuration servers."""

    code = "vault-not-empty"
    title = "The vault is not empty"


class DeletionBlocked(Conflict):
    """Something depends on the resource; `blockers` lists all of it."""

    code = "deletion-blocked"
    title = "Something still depends on it"


class VersionAboveConfigurationServer(Conflict):
    """Rule 1 of versions: a process server is never newer than its configuration server."""

    code = "version-above-configuration-server"
    title = "The process server is newer than its configuration server"


class NameInUseByAnotherHost(Conflict):
    """A registering machine wants a name that another machine has."""

    code = "name-in-use-by-another-host"
    title = "Another machine has this name"


class HostRegisteredElsewhere(Conflict):
    """The machine is already registered in another role or under another configuration server."""

    code = "host-registered-elsewhere"
    title = "The machine is registered elsewhere"


class DuplicateIdentity(Conflict):
    """Two live machines claim one host id, as clones of a virtual machine do."""

    code = "duplicate-identity"
    title = "Another live machine has this host id"


class IdempotencyKeyReused(Conflict):
    """The Idempotency-Key was used for another request."""

    code = "idempotency-key-reused"
    title = "The idempotency key belongs to another request"


class LastAdminToken(Conflict):
    """Without it nobody could administer Muster."""

    code = "last-admin-token"
    title = "The last admin token can't be deleted"


class PurgeBlocked(Conflict):
    """Something stands against a purge; `blockers` lists all of it."""

    code = "purge-blocked"
    title = "The process server can't be purged"


class DecommissionBlocked(Conflict):
    """Something stands against leaving in good order; `blockers` lists all of it."""

    code = "decommission-blocked"
    title = "The process server can't be decommissioned"


class TakeoverBlocked(Conflict):
    """The machine of the process server is alive, or is its configuration server's."""

    code = "takeover-blocked"
    title = "The process server can't be taken over"


class TargetNotFit(Conflict):
    """The process server named for source machines can't take them; `blockers` lists every reason."""

    code = "target-not-fit"
    title = "The target can't take the machines"


class OverCapacity(Conflict):
    """The process server would carry more than its limits; `allowOverCapacity` overrides."""

    code = "over-capacity"
    title = "The process server is full"


class ServerNotConnected(Conflict):
    """Only a server that is connected can be asked for something."""

    code = "server-not-connected"
    title = "The server is not connected"


class RenewalBlocked(Conflict):
    """A certificate is renewed only while all components are connected and current; `blockers` lists who is not."""

    code = "renewal-blocked"
    title = "The certificate can't be renewed now"


class NoMachinesToMove(Conflict):
    """No source machine is there to be moved: the process server carries none, or the plan has no moves."""

    code = "no-machines-to-move"
    title = "There is no source machine to move"


class StalePlan(Conflict):
    """A rebalance plan was made for a world that has changed since, or its token belongs to another plan."""

    code = "stale-plan"
    title = "The plan is stale"


class MachinesElsewhere(Conflict):
    """Source machines are with another process server than the request says; `machines` names it for each."""

    code = "machines-elsewhere"
    title = "Another process server carries the machines"


class ImportRefused(Conflict):
    """Rows of a file can't be done in the present state, and nothing was imported; `rows` names each."""

    code = "import-refused"
    title = "Rows of the file can't be done"


class JobNotCancellable(Conflict):
    """The job has ended, or has done something that can't be undone."""

    code = "job-not-cancellable"
    title = "The job can't be cancelled"


class MailNotConfigured(Conflict):
    """No mail server is set; `MUSTER_SMTP_HOST` names it."""

    code = "mail-not-configured"
    title = "There is no mail server"
