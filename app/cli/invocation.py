"""One run of a command: where it connects, how it prints, and how its failures end.

`command` gives every command of the API the same connection and output options, so that they are accepted
after the command's name as well as before it.
"""

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import typer

from app.cli import options, screen
from app.cli.client import ApiClient, api_path
from app.cli.credentials import DEFAULT_URL, Endpoint
from app.cli.failures import CommandError, ExitCode, UsageError

if TYPE_CHECKING:
    import httpx

_SHARED: Mapping[str, Any] = {
    "as_json": options.Json,
    "url": options.Url,
    "token_file": options.TokenFile,
    "ca_file": options.CaFile,
    "timeout": options.Timeout,
}


@dataclass(frozen=True, slots=True)
class Invocation:
    """What the options before and after the command's name add up to."""

    endpoint: Endpoint
    as_json: bool = False
    wire: "httpx.BaseTransport | None" = None

    @classmethod
    def begin(cls, wire: "httpx.BaseTransport | None" = None) -> "Invocation":
        """The defaults and the environment; `wire` stands in for the network."""
        ca_file = os.environ.get("MUSTER_CA_FILE")
        endpoint = Endpoint(url=os.environ.get("MUSTER_URL") or DEFAULT_URL, ca_file=Path(ca_file) if ca_file else None)
        return cls(endpoint=endpoint, wire=wire)

    def refined(
        self,
        *,
        as_json: bool,
        url: str | None,
        token_file: Path | None,
        ca_file: Path | None,
        timeout: float | None,
    ) -> "Invocation":
        """The same with what the given options say more."""
        endpoint = Endpoint(
            url=url or self.endpoint.url,
            token_file=token_file or self.endpoint.token_file,
            ca_file=ca_file or self.endpoint.ca_file,
            timeout_seconds=timeout or self.endpoint.timeout_seconds,
        )
        return replace(self, endpoint=endpoint, as_json=as_json or self.as_json)

    def connect(self) -> ApiClient:
        """Open the API; close it by leaving the context."""
        return ApiClient(self.endpoint, self.wire)


def command(
    group: typer.Typer, name: str, *, panel: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function that takes an Invocation and its own options as the command `name` of `group`.

    `panel` is where the help lists a command that stands among groups.

    A CommandError that it raises is explained on standard error and ends with its exit code.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        def run(context: typer.Context, **given: Any) -> None:
            shared = {key: given.pop(key) for key in _SHARED}
            before: Invocation = context.obj
            invocation = before
            try:
                invocation = before.refined(**shared)
                function(invocation, **given)
            except CommandError as failure:
                screen.print_failure(failure, as_json=before.as_json or shared["as_json"])
                raise typer.Exit(failure.exit_code) from None

        own = list(inspect.signature(function).parameters.values())[1:]
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
            *(parameter.replace(kind=keyword) for parameter in own),
            *(
                inspect.Parameter(key, keyword, annotation=option, default=False if bool in get_args(option) else None)
                for key, option in _SHARED.items()
            ),
        ]
        run.__doc__ = function.__doc__
        run.__name__ = function.__name__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        group.command(name, rich_help_panel=panel)(run)
        return function

    return register


def chosen_vault(client: ApiClient, given: str | None) -> str:
    """The vault to work in: the one given, else the only one the token reaches.

    Raises UsageError where there are several to choose from, CommandError where there is none.
    """
    if given:
        return given
    reach = list(client.items(api_path("vaults"), limit=11))
    if not reach:
        raise CommandError(
            "there is no vault in this token's reach",
            remedy="create one: muster vault create NAME --location LOCATION",
            exit_code=ExitCode.NOT_FOUND,
        )
    names = [str(vault.get("name") or vault.get("id")) for vault in reach]
    if len(names) > 1:
        listed = ", ".join(names[:10]) + (" ..." if len(names) > 10 else "")
        raise UsageError(f"there are several vaults: {listed}", remedy="choose one with --vault or MUSTER_VAULT")
    return names[0]


def is_interactive() -> bool:
    """Whether somebody sits at the terminal who can be asked."""
    return sys.stdin.isatty()


def confirm(question: str, *, yes: bool) -> None:
    """Go on only if the operator agrees, or has said --yes already.

    Raises UsageError where nobody can be asked, typer.Abort on a no.
    """
    if yes:
        return
    if not is_interactive():
        raise UsageError(f"not done without a confirmation: {question}", remedy="add --yes")
    typer.confirm(question, abort=True, err=True)
