"""What registration routes depend on."""

from typing import Annotated

from fastapi import Depends, Request

from app.hosts.service import Gate


async def _gate(request: Request) -> Gate:
    state = request.app.state
    return Gate(state.database, state.hasher, state.failures, state.clock, state.settings)


async def _client_address(request: Request) -> str:
    return request.client.host if request.client else "unknown"


Registrar = Annotated[Gate, Depends(_gate)]
ClientAddress = Annotated[str, Depends(_client_address)]
