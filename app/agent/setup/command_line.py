"""Unified Setup's command line, read as a whole: every problem is found at once. Pure functions."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .parameters import OWN_PARAMETERS, PARAMETERS, Parameter, find, nearest, shown
from .words import PREFIXES, begins_like_a_name, read_words

CONTROL_PORT = 443
DEFAULT_DATA_TRANSFER_PORT = 9443
_WORD = re.compile(rf"[{PREFIXES}]{{1,2}}([A-Za-z][A-Za-z0-9_]*)(?::(.*))?", re.DOTALL)
_HELP = {"?", "h", "help"}
_ONLY_OF = {
    "CS": ("MySQLCredsFilePath", "VaultCredsFilePath"),
    "PS": ("CSIP", "PassphraseFilePath"),
}
_WHAT_IS_RIGHT = {
    "ServerMode": "use CS or PS",
    "EnvType": "use VMware or NonVMware",
    "CSIP": "give the IP address of the configuration server",
    "PassphraseFilePath": "give the file with the configuration server's passphrase",
    "MySQLCredsFilePath": "give the file with the MySQL passwords",
    "VaultCredsFilePath": "give the vault credentials file",
}


@dataclass(frozen=True)
class Problem:
    """What is wrong with one parameter, and what would be right. Never shows what a file holds."""

    parameter: str
    detail: str

    def __str__(self) -> str:
        """Return the problem in one line."""
        return f"/{self.parameter} {self.detail}" if self.parameter else self.detail


@dataclass(frozen=True)
class CommandLine:
    """What a command line says. Values are in one spelling, switches are in ``switches``."""

    values: dict[str, str] = field(default_factory=dict)
    switches: frozenset[str] = frozenset()
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    wants_help: bool = False

    @property
    def shows_eula(self) -> bool:
        """Whether everything else is to be ignored and the licenses printed."""
        return "ShowThirdpartyEULA" in self.switches

    @property
    def server_mode(self) -> str:
        """CS or PS."""
        return self.values["ServerMode"]

    @property
    def data_transfer_port(self) -> int:
        """Where replication data comes in."""
        return int(self.values.get("DataTransferSecurePort", DEFAULT_DATA_TRANSFER_PORT))


def parse(arguments: Sequence[str]) -> CommandLine:
    """Return what the arguments say, with every problem there is in them."""
    words = read_words(arguments)
    if any(begins_like_a_name(word) and word.lstrip(PREFIXES).casefold() in _HELP for word in words):
        return CommandLine(wants_help=True)
    reading = _Reading()
    reading.read(words)
    if "ShowThirdpartyEULA" in reading.switches:
        return CommandLine(switches=frozenset({"ShowThirdpartyEULA"} | (reading.switches & {"Json"})))
    problems = [*reading.problems, *_missing(reading), *_contradictions(reading)]
    order = {parameter.name: place for place, parameter in enumerate(PARAMETERS)}
    problems.sort(key=lambda problem: order.get(problem.parameter, len(order)))
    return CommandLine(
        values=reading.values,
        switches=frozenset(reading.switches),
        problems=tuple(problems),
        warnings=tuple(_warnings(reading.values)),
    )


class _Reading:
    """Goes over the words once."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.switches: set[str] = set()
        self.given: set[str] = set()
        self.problems: list[Problem] = []

    def read(self, words: Sequence[str]) -> None:
        rest = list(words)
        before = ""
        while rest:
            word = rest.pop(0)
            named = _WORD.fullmatch(word)
            if named is None:
                self._stray(before, word)
                continue
            name, inline = named.group(1), named.group(2)
            parameter = find(name)
            if parameter is None:
                self._unknown(name)
                if rest and not begins_like_a_name(rest[0]):
                    rest.pop(0)
                continue
            before = parameter.name
            if not parameter.takes_value:
                self._switch(parameter, inline)
            elif inline:
                self._value(parameter, inline)
            elif rest and _is_value_of(parameter, rest[0]):
                self._value(parameter, rest.pop(0))
            else:
                self._without_value(parameter)

    def _once(self, parameter: Parameter) -> bool:
        if parameter.name in self.given:
            self.problems.append(Problem(parameter.name, "is given more than once; give it once"))
            return False
        self.given.add(parameter.name)
        return True

    def _switch(self, parameter: Parameter, inline: str | None) -> None:
        if inline:
            self.problems.append(Problem(parameter.name, "takes no value; write the name alone"))
        # Saying yes twice is still a yes.
        self.given.add(parameter.name)
        self.switches.add(parameter.name)

    def _value(self, parameter: Parameter, text: str) -> None:
        if not self._once(parameter) or parameter.read is None:
            return
        try:
            self.values[parameter.name] = parameter.read(text.strip())
        except ValueError as error:
            self.problems.append(Problem(parameter.name, str(error)))

    def _without_value(self, parameter: Parameter) -> None:
        if self._once(parameter):
            self.problems.append(Problem(parameter.name, f"has no value; write /{parameter.name} {parameter.metavar}"))

    def _unknown(self, name: str) -> None:
        near = nearest(name)
        hint = f"did you mean /{near}?" if near else "muster-setup /? lists those there are"
        # The value is not shown: it may be a secret that has no place here.
        self.problems.append(Problem(name[:60], f"is not a parameter; {hint}"))

    def _stray(self, before: str, word: str) -> None:
        if begins_like_a_name(word):
            detail = f"'{shown(word)}' is not the name of a parameter; muster-setup /? lists those there are"
        elif before and not _takes_value(before):
            self.problems.append(Problem(before, "takes no value; write the name alone"))
            return
        elif before:
            self.problems.append(
                Problem(before, "is followed by more than one value; put a value with blanks in quotes")
            )
            return
        else:
            detail = "the line begins with a word that is no parameter; write /Name value"
        self.problems.append(Problem("", detail))


def _takes_value(name: str) -> bool:
    parameter = find(name)
    return parameter is not None and parameter.takes_value


def _is_value_of(parameter: Parameter, word: str) -> bool:
    if not begins_like_a_name(word):
        return True
    named = _WORD.fullmatch(word)
    if named is None:
        return parameter.is_free_text
    # /opt is a folder, /PassfraseFilePath a slip of the pen.
    return find(named.group(1)) is None and parameter.is_free_text and nearest(named.group(1)) is None


def _missing(reading: _Reading) -> Iterable[Problem]:
    def absent(name: str) -> bool:
        return name not in reading.given

    always = ["ServerMode", "EnvType"]
    for name in [*always, *_ONLY_OF.get(reading.values.get("ServerMode", ""), ())]:
        if absent(name):
            yield Problem(name, f"is missing; {_WHAT_IS_RIGHT[name]}")
    if absent("InstallLocation") and absent("InstallDrive"):
        yield Problem("InstallLocation", "is missing; give the folder to install in, or /InstallDrive and a drive")
    if absent("AcceptThirdpartyEULA"):
        yield Problem(
            "AcceptThirdpartyEULA", "is missing; read the licenses with /ShowThirdpartyEULA, then accept them with it"
        )


def _contradictions(reading: _Reading) -> Iterable[Problem]:
    mode = reading.values.get("ServerMode", "")
    for other, names in _ONLY_OF.items():
        for name in (*names, *(["Kind"] if other == "PS" else [])):
            if mode and mode != other and name in reading.given:
                yield Problem(name, f"does not go with /ServerMode {mode}; leave it out, or use /ServerMode {other}")
    for one, another in (("InstallLocation", "InstallDrive"), ("BypassProxy", "ProxySettingsFilePath")):
        if {one, another} <= reading.given:
            yield Problem(another, f"does not go with /{one}; give one of them")


def _warnings(values: dict[str, str]) -> Iterable[str]:
    if values.get("DataTransferSecurePort") == str(CONTROL_PORT):
        yield (
            f"/DataTransferSecurePort {CONTROL_PORT}: this port is for control traffic and should not carry "
            f"replication data; {DEFAULT_DATA_TRANSFER_PORT} is usual"
        )


def usage_text(prog: str) -> str:
    """Return the help: every parameter with what it takes and does."""
    lines = [
        f"usage: {prog} /AcceptThirdpartyEULA /ServerMode CS|PS /InstallLocation FOLDER /EnvType VMware|NonVMware ...",
        "",
        "Checks this machine, registers it with its control plane as a configuration or process server and installs",
        "the agent as a service. Names and values in any case; /Name value, /Name:value or -Name value; the whole",
        "line may be one argument in quotes.",
        "",
    ]
    for parameter in PARAMETERS:
        left = f"/{parameter.name} {parameter.metavar}".strip()
        own = " (Muster's own)" if parameter.name in OWN_PARAMETERS else ""
        lines.append(f"  {left:<32} {parameter.about}{own}")
    return "\n".join(lines)
