"""Secrets that must be read again, to sign with them: encrypted at rest.

The key is `MUSTER_SECRET_KEY` or a file in the data folder. Encryption is Fernet's, which authenticates: with a
wrong key there is an error and never a wrong secret. A sealed text begins with the public id of its key, so that
the error can name it, and holds the id of its row, so that it is good for no other.
"""

import base64
import contextlib
import hashlib
import os
import secrets
import uuid
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from app.core.errors import SecretKeyUnavailable
from app.core.setting_types import SECRET_KEY_BYTES
from app.core.settings import Settings

KEY_FILE = "secret-key"
_VARIABLE = "MUSTER_SECRET_KEY"
_ID_LENGTH = 8


class Sealer:
    """Encrypts and decrypts secrets of rows. The key file is read, or made, when it is first needed."""

    def __init__(self, settings: Settings) -> None:
        self._file = settings.data_dir / KEY_FILE
        self._ciphers = {_id_of(key): Fernet(key) for key in settings.secret_keys}
        self._has_setting = bool(self._ciphers)

    def seal(self, row_id: uuid.UUID, text: str) -> str:
        """`text` encrypted for the row `row_id`. Makes the key file where there is neither file nor setting.

        Raises SecretKeyUnavailable when the key file can't be read or made.
        """
        if not self._ciphers and not self._load():
            self._make()
        key_id, cipher = next(iter(self._ciphers.items()))
        return f"{key_id}.{cipher.encrypt(f'{row_id.hex}{text}'.encode()).decode()}"

    def open(self, row_id: uuid.UUID, sealed: str) -> str:
        """The text that was sealed for the row. Raises SecretKeyUnavailable naming the key that is missing."""
        key_id, _, token = sealed.partition(".")
        self.require(sealed)
        try:
            text = self._ciphers[key_id].decrypt(token).decode()
        except InvalidToken:
            raise SecretKeyUnavailable(f"a secret encrypted with key {key_id} is damaged; rotate it") from None
        if not text.startswith(row_id.hex):
            raise SecretKeyUnavailable("a secret belongs to another row; rotate it")
        return text.removeprefix(row_id.hex)

    def require(self, sealed: str) -> None:
        """Raises SecretKeyUnavailable unless this process has the key of `sealed`."""
        key_id = sealed.partition(".")[0]
        if key_id in self._ciphers or (not self._ciphers and self._load() and key_id in self._ciphers):
            return
        held = ", ".join(self._ciphers) or "none"
        where = f"in {_VARIABLE}" if self._has_setting else f"in the file {self._file}"
        raise SecretKeyUnavailable(
            f"webhook secrets are encrypted with key {key_id}, this replica has {held} {where}; "
            f"give all replicas the same {_VARIABLE}, or rotate the secrets"
        )

    def _load(self) -> bool:
        try:
            key = self._file.read_text(encoding="ascii").strip()
            self._ciphers[_id_of(key)] = Fernet(key)
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            self._ciphers.clear()
            reason = error.strerror if isinstance(error, OSError) else "it holds no key"
            raise SecretKeyUnavailable(f"the secret key file {self._file} can't be used: {reason}") from None
        return True

    def _make(self) -> None:
        key = base64.urlsafe_b64encode(secrets.token_bytes(SECRET_KEY_BYTES)).decode()
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write_once(self._file, f"{key}\n")
        except OSError as error:
            raise SecretKeyUnavailable(
                f"the secret key file {self._file} can't be written: {error.strerror}; set {_VARIABLE} instead"
            ) from None
        self._load()


def _id_of(key: str) -> str:
    """A public name of a key."""
    return hashlib.sha256(b"muster key id\n" + base64.urlsafe_b64decode(key)).hexdigest()[:_ID_LENGTH]


def _write_once(path: Path, text: str) -> None:
    """Make `path` with mode 0600, whole or not at all. One that another process has made meanwhile stays."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
