"""One attempt to hand a mail to the mail server."""

import asyncio
import socket
from datetime import datetime

import aiosmtplib

from app.core.setting_types import SmtpTls
from app.core.settings import Settings
from app.mail_subscriptions.composition import compose
from app.models import NotificationChannel, NotificationDelivery
from app.notifications.senders import Outcome, failed

ATTEMPT_SECONDS = 30
ACCEPTED = 250
PERMANENT = 500


class MailSender:
    """Sends over a connection of its own for each mail: the mail server is near, and mails are few."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def send(self, channel: NotificationChannel, delivery: NotificationDelivery, now: datetime) -> Outcome:
        """Hand the mail over. What the server refuses for good (5xx to recipient or mail) is not tried again."""
        if not self._settings.smtp_host:
            return failed("no mail server is set: MUSTER_SMTP_HOST")
        mail = compose(delivery, self._settings.smtp_from, now)
        is_accepted = False
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS), self._client() as client:
                await client.send_message(mail, sender=self._settings.smtp_from, recipients=[delivery.recipient])
                is_accepted = True
        except aiosmtplib.SMTPRecipientsRefused as error:
            return _refused("recipient", error.recipients[0])
        except aiosmtplib.SMTPSenderRefused as error:
            return _refused("sender", error)
        except aiosmtplib.SMTPDataError as error:
            return _refused("mail", error)
        except aiosmtplib.SMTPResponseException as error:
            # Such as a refused login: not for good, since the operator may mend the settings.
            return failed(f"the mail server answered {error.code} {error.message}", status=error.code)
        except TimeoutError:
            # Once it is accepted, a goodbye that hangs changes nothing.
            if not is_accepted:
                return failed(f"no answer of the mail server within {ATTEMPT_SECONDS} s")
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            if not is_accepted:
                return failed(f"the mail server can't be used: {error}")
        return Outcome(is_delivered=True, status=ACCEPTED)

    async def close(self) -> None:
        """Nothing is kept open."""

    def _client(self) -> aiosmtplib.SMTP:
        settings = self._settings
        return aiosmtplib.SMTP(
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            username=settings.smtp_username or None,
            password=settings.smtp_password.get_secret_value() if settings.smtp_password else None,
            # The library would ask the resolver, and keep everything waiting for it.
            local_hostname=socket.gethostname() or "localhost",
            timeout=ATTEMPT_SECONDS,
            use_tls=settings.smtp_tls is SmtpTls.TLS,
            start_tls=settings.smtp_tls is SmtpTls.STARTTLS,
        )


def _refused(what: str, error: aiosmtplib.SMTPResponseException) -> Outcome:
    return failed(
        f"the mail server refused the {what}: {error.code} {error.message}",
        status=error.code,
        is_final=error.code >= PERMANENT,
    )
