"""Errors for what is not there, or not for this identity: 404."""

from app.core.errors.base import NotFound


class VaultNotFound(NotFound):
    """No such vault, or out of the token's scope."""

    code = "vault-not-found"
    title = "There is no such vault"


class ConfigurationServerNotFound(NotFound):
    """No such configuration server in the vault."""

    code = "configuration-server-not-found"
    title = "There is no such configuration server"


class ProcessServerNotFound(NotFound):
    """No such process server in the vault or under the configuration server."""

    code = "process-server-not-found"
    title = "There is no such process server"


class SourceMachineNotFound(NotFound):
    """No such source machine under the configuration server."""

    code = "source-machine-not-found"
    title = "There is no such source machine"


class JobNotFound(NotFound):
    """No such job in the vault."""

    code = "job-not-found"
    title = "There is no such job"


class BrakeNotFound(NotFound):
    """No such brake in the vault."""

    code = "brake-not-found"
    title = "There is no such brake"


class TombstoneNotFound(NotFound):
    """No purged process server of that name, id or address."""

    code = "tombstone-not-found"
    title = "There is no such purged process server"


class RegistrationKeyNotFound(NotFound):
    """No such registration key in the vault."""

    code = "registration-key-not-found"
    title = "There is no such registration key"


class ReleaseNotFound(NotFound):
    """No such release in the catalogue."""

    code = "release-not-found"
    title = "There is no such release"


class AgentPackageNotFound(NotFound):
    """The version is neither a release that is offered nor a configuration server's."""

    code = "agent-package-not-found"
    title = "There is no such agent package"


class TokenNotFound(NotFound):
    """No such API token."""

    code = "token-not-found"
    title = "There is no such token"


class WebhookNotFound(NotFound):
    """No such webhook in the vault."""

    code = "webhook-not-found"
    title = "There is no such webhook"


class MailSubscriptionNotFound(NotFound):
    """No such mail subscription in the vault."""

    code = "mail-subscription-not-found"
    title = "There is no such mail subscription"
