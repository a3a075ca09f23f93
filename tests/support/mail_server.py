"""A mail server on loopback that speaks enough SMTP for the tests, and refuses what it is told to."""

import asyncio
import base64
import contextlib
import email
import email.policy
from collections.abc import AsyncIterator, Awaitable, Callable
from email.message import EmailMessage
from typing import NamedTuple

Say = Callable[[str], Awaitable[None]]


class Mail(NamedTuple):
    """A mail as it was handed over."""

    sender: str
    recipients: list[str]
    message: EmailMessage
    raw: bytes

    @property
    def text(self) -> str:
        """What a reader sees, with plain line ends."""
        return str(self.message.get_content()).replace("\r\n", "\n")


class MailServer:
    """Keeps what it accepts. `replies` overrides the answer to a command (`RCPT`, `DATA`, `.`, ...) or a recipient."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.logins: list[str] = []
        self.replies: dict[str, str] = {}
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""

        async def say(line: str) -> None:
            writer.write(f"{line}\r\n".encode())
            await writer.drain()

        sender, recipients = "", list[str]()
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await say(self.replies.get("CONNECT", "220 mail.test"))
            while line := (await reader.readline()).decode().rstrip("\r\n"):
                verb, _, rest = line.partition(" ")
                verb = verb.upper()
                if verb == "EHLO":
                    writer.write(b"250-mail.test\r\n250-AUTH PLAIN\r\n250 8BITMIME\r\n")
                    await writer.drain()
                elif verb == "AUTH":
                    self.logins.append(base64.b64decode(rest.split()[-1]).decode())
                    await say(self.replies.get("AUTH", "235 welcome"))
                elif verb == "MAIL":
                    sender, recipients = rest.partition("<")[2].partition(">")[0], []
                    await say(self.replies.get("MAIL", "250 fine"))
                elif verb == "RCPT":
                    recipient = rest.partition("<")[2].partition(">")[0]
                    reply = self.replies.get(recipient, self.replies.get("RCPT", "250 fine"))
                    if reply.startswith("250"):
                        recipients.append(recipient)
                    await say(reply)
                elif verb == "DATA":
                    await say(self.replies.get("DATA", "354 go on"))
                    raw = (await reader.readuntil(b"\r\n.\r\n"))[:-5]
                    await self._take(sender, recipients, raw, say)
                elif verb == "QUIT":
                    await say("221 bye")
                    break
                else:
                    await say("250 fine")
        writer.close()

    async def _take(self, sender: str, recipients: list[str], raw: bytes, say: Say) -> None:
        reply = self.replies.get(".", "250 taken")
        if reply == "DIE":
            raise ConnectionResetError
        if reply.startswith("250"):
            parsed = email.message_from_bytes(raw.replace(b"\r\n..", b"\r\n."), policy=email.policy.default)
            assert isinstance(parsed, EmailMessage)
            self.mails.append(Mail(sender, recipients, parsed, raw))
        await say(reply)


@contextlib.asynccontextmanager
async def mail_server() -> AsyncIterator[MailServer]:
    """A mail server that listens."""
    started = MailServer()
    server = await asyncio.start_server(started.serve, "127.0.0.1", 0)
    started.port = server.sockets[0].getsockname()[1]
    try:
        yield started
    finally:
        server.close()
