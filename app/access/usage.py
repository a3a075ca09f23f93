"""When tokens were last used: gathered in memory and written now and then, so that reads stay reads."""

import uuid
from datetime import datetime

from sqlalchemy import update

from app.core.clock import Clock
from app.core.db import Database
from app.models import ApiToken


class TokenUsage:
    """The tokens used since the last `flush`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._used: dict[uuid.UUID, datetime] = {}

    def note(self, token_id: uuid.UUID) -> None:
        """Remember that a token is being used."""
        self._used[token_id] = self._clock.now()

    async def flush(self) -> None:
        """Write what was noted; on failure it is kept for the next time."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            async with self._database.write() as session:
                for token_id in sorted(used):
                    await session.execute(
                        update(ApiToken).where(ApiToken.id == token_id).values(last_used_at=used[token_id])
                    )
        except BaseException:
            self._used = {**used, **self._used}
            raise
