"""Unified Setup's command line: the documented ones as they stand, and everything that can be wrong at once."""

import random
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agent.setup.command_line import CommandLine, parse, usage_text
from app.agent.setup.parameters import OWN_PARAMETERS, PARAMETERS, nearest
from app.agent.setup.words import only_unpacks, read_words, split_line

UNPACK = r"MicrosoftAzureSiteRecoveryUnifiedSetup.exe /q /xC:\Temp\Extracted"
SAMPLE = (
    r'UNIFIEDSETUP.EXE /AcceptThirdpartyEULA /servermode "PS" /InstallLocation "D:\" /EnvType "VMWare" '
    r'/CSIP "10.150.24.119" /PassphraseFilePath "C:\Users\Administrator\Desktop\Passphrase.txt" '
    r"/DataTransferSecurePort 443"
)
SAMPLE_VALUES = {
    "ServerMode": "PS",
    "InstallLocation": "D:\\",
    "EnvType": "VMware",
    "CSIP": "10.150.24.119",
    "PassphraseFilePath": "C:\\Users\\Administrator\\Desktop\\Passphrase.txt",
    "DataTransferSecurePort": "443",
}
PS = ["/AcceptThirdpartyEULA", "/ServerMode", "PS", "/InstallLocation", "/opt/muster", "/EnvType", "VMware",
      "/CSIP", "10.150.24.119", "/PassphraseFilePath", "/root/passphrase.txt"]  # fmt: skip
CS = ["/AcceptThirdpartyEULA", "/ServerMode", "CS", "/InstallDrive", "D", "/EnvType", "NonVMware",
      "/MySQLCredsFilePath", "mysql.txt", "/VaultCredsFilePath", "prod.vaultcredentials"]  # fmt: skip


def complaints(*words: str) -> dict[str, str]:
    """What is said about each parameter."""
    line = parse(words)
    return {problem.parameter: problem.detail for problem in line.problems}


# --- the seed's lines ----------------------------------------------------------------------------------------


def _check_sample(line: CommandLine) -> None:
    assert line.problems == ()
    assert line.values == SAMPLE_VALUES
    assert line.switches == {"AcceptThirdpartyEULA"}
    [warning] = line.warnings
    assert "/DataTransferSecurePort 443" in warning
    assert "9443" in warning


def test_the_sample_as_one_argument() -> None:
    _check_sample(parse([SAMPLE]))


def test_the_sample_as_windows_programs_and_shells_misread_it() -> None:
    # In "D:\" the backslash and quote count as an escaped quote, to the C runtime of Windows and to sh alike; every
    # later quote then means the opposite.
    mangled = (
        r'D:" /EnvType VMWare /CSIP 10.150.24.119 /PassphraseFilePath '
        r"C:\Users\Administrator\Desktop\Passphrase.txt /DataTransferSecurePort 443"
    )
    _check_sample(parse(["/AcceptThirdpartyEULA", "/servermode", "PS", "/InstallLocation", mangled]))


def test_a_misread_line_keeps_values_with_blanks_and_unknown_parameters() -> None:
    words = [
        *PS[:3],
        "/InstallLocation",
        'D:" /CSIP 10.1.1.1 /PassphraseFilePath C:\\My',
        "Files\\p.txt /EnvType VMware",
    ]
    assert parse(words).problems == ()
    assert parse(words).values["PassphraseFilePath"] == "C:\\My Files\\p.txt"
    assert complaints(*words[:-1], "Files\\p.txt /EnvType VMware", "/Nonsense")["Nonsense"]


def test_the_sample_as_separate_arguments() -> None:
    _check_sample(parse(split_line(SAMPLE)))


@pytest.mark.parametrize("separator", ["\n", "\r\n"])
def test_the_whole_sample_with_the_lines_that_unpack(separator: str) -> None:
    _check_sample(parse([separator.join([UNPACK, r"cd C:\Temp\Extracted", SAMPLE])]))


def test_a_line_broken_with_the_marks_of_any_shell() -> None:
    for mark in ("^", "`", "\\"):
        _check_sample(parse([SAMPLE.replace(" /EnvType", f" {mark}\n  /EnvType")]))


@pytest.mark.parametrize("words", [[UNPACK], UNPACK.split(), [f"C:\\Downloads\\{UNPACK}"]])
def test_the_line_that_only_unpacks_is_known(words: list[str]) -> None:
    assert only_unpacks(words)
    assert not only_unpacks([SAMPLE])
    assert not only_unpacks([])


@pytest.mark.parametrize(
    "program", ["UNIFIEDSETUP.EXE", r"C:\Temp\Extracted\UnifiedSetup.exe", "unifiedsetup", "muster-setup"]
)
def test_the_name_of_the_installer_is_passed_over(program: str) -> None:
    assert parse([program, *PS]) == parse(PS)
    assert parse([f'"{program}" {shlex.join(PS)}']) == parse(PS)


# --- spellings -----------------------------------------------------------------------------------------------


@given(st.randoms(use_true_random=False), st.booleans(), st.sampled_from([PS, CS]))
def test_any_case_quoting_and_spelling_says_the_same(chance: random.Random, as_one: bool, line: list[str]) -> None:
    def case(text: str) -> str:
        return "".join(chance.choice((letter.lower(), letter.upper())) for letter in text)

    def quoted(text: str) -> str:
        quote = chance.choice(['"', "'", "“”", ""]) if as_one else ""
        return f"{quote[:1]}{text}{quote[-1:]}" if quote or " " not in text else f'"{text}"'

    groups, rest = [], list(line)
    while rest:
        name = rest.pop(0)
        value = rest.pop(0) if rest and name != "/AcceptThirdpartyEULA" else None
        groups.append((name, value))
    chance.shuffle(groups)
    words: list[str] = []
    for name, value in groups:
        written = chance.choice(["/", "-", "--", "\N{EN DASH}"]) + case(name[1:])
        if value is None:
            words.append(written)
            continue
        said = quoted(case(value) if name in {"/ServerMode", "/EnvType", "/CSIP"} else value)
        words += [f"{written}:{said}"] if chance.random() < 0.5 else [written, said]
    blanks = chance.choice([" ", "  ", "\t"])
    given_words = [blanks.join(words)] if as_one else words
    assert parse(given_words) == parse(line)


@given(st.lists(st.text(max_size=20), max_size=8))
def test_whatever_is_typed_is_read_and_answered(words: list[str]) -> None:
    line = parse(words)
    assert line.problems or line.wants_help or line.shows_eula


@given(st.text(alphabet='/ -":DCSIP\\', max_size=60))
def test_no_line_is_too_odd_for_the_words(text: str) -> None:
    read_words([text])
    parse([f"{text} /CSIP"])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('/InstallLocation "D:\\" /EnvType VMware', ["/InstallLocation", "D:\\", "/EnvType", "VMware"]),
        ('/PassphraseFilePath:"C:\\My Files\\p.txt" /q', ["/PassphraseFilePath:C:\\My Files\\p.txt", "/q"]),
        ('"/CSIP" "" x', ["/CSIP", "", "x"]),
        ('an "open end', ["an", '"open', "end"]),
        ("", []),
    ],
)
def test_words_of_a_line(line: str, words: list[str]) -> None:
    assert split_line(line) == words


# --- every problem at once -----------------------------------------------------------------------------------


def test_an_empty_line_names_all_that_is_mandatory() -> None:
    found = complaints()
    assert list(found) == ["ServerMode", "InstallLocation", "EnvType", "AcceptThirdpartyEULA"]
    assert "CS or PS" in found["ServerMode"]
    assert "/InstallDrive" in found["InstallLocation"]
    assert "VMware or NonVMware" in found["EnvType"]
    assert "/ShowThirdpartyEULA" in found["AcceptThirdpartyEULA"]


@pytest.mark.parametrize(
    ("mode", "missing"),
    [("PS", ["CSIP", "PassphraseFilePath"]), ("CS", ["MySQLCredsFilePath", "VaultCredsFilePath"])],
)
def test_each_mode_names_its_own_mandatory_ones(mode: str, missing: list[str]) -> None:
    found = complaints("/ServerMode", mode, "/InstallLocation", "D:\\", "/EnvType", "VMware", "/AcceptThirdpartyEULA")
    assert sorted(found) == sorted(missing)


def test_all_that_is_wrong_is_told_together() -> None:
    found = complaints(
        "/ServerMode", "XS", "/InstallDrive", "DD", "/EnvType", "HyperV", "/CSIP", "10.150.24.300", "/PSIP", "0.0.0.0",
        "/DataTransferSecurePort", "70000", "/PassfraseFilePath", "p.txt", "/Frobnicate", "/WhatIf:yes",
        "/MySQLCredsFilePath",
    )  # fmt: skip
    assert "'XS'" in found["ServerMode"]
    assert "D:" in found["InstallDrive"]
    assert "VMware or NonVMware" in found["EnvType"]
    assert "10.150.24.300" in found["CSIP"]
    assert "no machine's" in found["PSIP"]
    assert "1 to 65535" in found["DataTransferSecurePort"]
    assert "/PassphraseFilePath?" in found["PassfraseFilePath"]
    assert "not a parameter" in found["Frobnicate"]
    assert "takes no value" in found["WhatIf"]
    assert "/MySQLCredsFilePath FILE" in found["MySQLCredsFilePath"]
    assert "is missing" in found["AcceptThirdpartyEULA"]


@pytest.mark.parametrize(
    ("words", "parameter", "right"),
    [
        (["/CSIP", "10.1.1.1"], "CSIP", "more than once"),
        (["/InstallDrive", "D:"], "InstallDrive", "/InstallLocation"),
        (["/BypassProxy", "/ProxySettingsFilePath", "p.ini"], "ProxySettingsFilePath", "/BypassProxy"),
        (["/VaultCredsFilePath", "v"], "VaultCredsFilePath", "/ServerMode CS"),
        (["/PSIP"], "PSIP", "/PSIP ADDRESS"),
        (["/PSIP", "/BypassProxy"], "PSIP", "has no value"),
        (["/PSIP:"], "PSIP", "has no value"),
        (["/ControlPlaneUrl", "ftp://x"], "ControlPlaneUrl", "https://"),
        (["/Name", "not a name"], "Name", "1 to 63"),
        (["/Kind", "inbuilt"], "Kind", "scaleOut or failback"),
        (["/DataTransferSecurePort", "443x"], "DataTransferSecurePort", "9443"),
        (["/SkipSpaceCheck", "yes"], "SkipSpaceCheck", "takes no value"),
        (["/CAFile", ""], "CAFile", "is empty"),
        (["/CAFile", "C:\\My", "Files\\ca.pem"], "CAFile", "in quotes"),
        (["/Passphrase", "hunter2"], "Passphrase", "did you mean"),
    ],
)
def test_one_wrong_thing_in_a_right_line(words: list[str], parameter: str, right: str) -> None:
    found = complaints(*PS, *words)
    assert list(found) == [parameter]
    assert right in found[parameter]
    assert "hunter2" not in str(found)


def test_the_other_modes_parameters_are_refused_in_a_configuration_servers_line() -> None:
    assert parse(CS).problems == ()
    assert list(complaints(*CS, "/CSIP", "10.1.1.1", "/Kind", "failback")) == ["CSIP", "Kind"]


def test_a_slip_before_a_value_is_no_value() -> None:
    found = complaints(*PS[:-2], "/PassphraseFilePath", "/DataTransferSecurePorts", "9443")
    assert sorted(found) == ["DataTransferSecurePorts", "PassphraseFilePath"]


def test_folders_of_linux_are_values_though_they_begin_with_a_slash() -> None:
    assert parse(PS).values["InstallLocation"] == "/opt/muster"
    assert parse([*PS[:4], "/opt", *PS[5:]]).values["InstallLocation"] == "/opt"


def test_port_443_is_taken_with_a_warning_and_the_usual_one_without() -> None:
    assert len(parse([*PS, "/DataTransferSecurePort", "443"]).warnings) == 1
    assert parse([*PS, "/DataTransferSecurePort", "9443"]).warnings == ()
    assert parse(PS).data_transfer_port == 9443


@pytest.mark.parametrize("words", [[], ["/ServerMode", "nonsense"], ["stray", "/Frobnicate"], PS])
def test_show_eula_ignores_everything_else(words: list[str]) -> None:
    line = parse([*words, "/showthirdpartyeula"])
    assert line.shows_eula
    assert line.problems == ()


@pytest.mark.parametrize("word", ["/?", "-h", "--help", "/HELP"])
def test_help(word: str) -> None:
    assert parse([*PS, word]).wants_help


def test_help_lists_every_parameter_and_says_which_are_own() -> None:
    text = usage_text("muster-setup")
    for parameter in PARAMETERS:
        [line] = [line for line in text.splitlines() if line.startswith(f"  /{parameter.name} ")]
        assert ("(Muster's own)" in line) == (parameter.name in OWN_PARAMETERS)
    assert len(PARAMETERS) - len(OWN_PARAMETERS) == 15


def test_nearest_names() -> None:
    assert nearest("servrmode") == "ServerMode"
    assert nearest("zzz") is None
