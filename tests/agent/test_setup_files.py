"""The files that a command line names: proxy settings and MySQL passwords, in both spellings, and wrong variants."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agent.setup.ini_file import read_section
from app.agent.setup.mysql_credentials import check_mysql_credentials
from app.agent.setup.proxy_settings import read_proxy_settings
from app.agent.state import Proxy

SEED = """\
* [ProxySettings]
* ProxyAuthentication = "Yes/No"
* Proxy IP = "IP Address"
* ProxyPort = "Port"
* ProxyUserName="UserName"
* ProxyPassword="Password"
"""
FILLED = (
    SEED.replace("Yes/No", "Yes")
    .replace("IP Address", "10.1.2.3")
    .replace('"Port"', '"8080"')
    .replace('"UserName"', '"corp\\svc-ps"')
    .replace('"Password"', '"p=;#w d"')
)
WHOLE = Proxy(mode="custom", address="10.1.2.3", port=8080, user_name="corp\\svc-ps", password="p=;#w d")


def test_the_seeds_file_filled_in() -> None:
    file = read_proxy_settings(FILLED)
    assert (file.proxy, file.problems, file.warnings) == (WHOLE, (), ())


@pytest.mark.parametrize(
    "text",
    [
        FILLED.replace("* ", ""),
        FILLED.replace("\n", "\r\n"),
        "\ufeff" + FILLED,
        FILLED.replace('"', "'"),
        FILLED.upper().replace("CORP\\SVC-PS", "corp\\svc-ps").replace("P=;#W D", "p=;#w d"),
        FILLED.replace("Proxy IP", "ProxyIP").replace("ProxyPort", "Proxy Port"),
        FILLED.replace('"10.1.2.3"', "  10.1.2.3  ").replace('"8080"', "8080"),
        FILLED.replace('"10.1.2.3"', '"http://10.1.2.3/"'),
        "; a note\n\n" + FILLED.replace("* ", "  "),
        FILLED.replace("* ", "*"),
        FILLED.replace("* ", "• "),
    ],
)
def test_other_spellings_of_the_same(text: str) -> None:
    assert read_proxy_settings(text).proxy == WHOLE


def test_without_credentials_those_given_are_not_used() -> None:
    file = read_proxy_settings(FILLED.replace('"Yes"', '"no"'))
    assert file.proxy == Proxy(mode="custom", address="10.1.2.3", port=8080)
    assert len(file.warnings) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SEED, ["ProxyAuthentication is neither Yes nor No", "Proxy IP is neither", "ProxyPort is not a port"]),
        ("", ["no section [ProxySettings]", "ProxyAuthentication is missing", "Proxy IP is missing", "ProxyPort"]),
        (FILLED.replace("* [ProxySettings]\n", ""), ["line 1 stands before [ProxySettings]"]),
        (FILLED.replace("[ProxySettings]", "[Proxy]"), ["line 1 begins another section", "line 2 stands before"]),
        (FILLED.replace("10.1.2.3", "10.1.2.300"), ["Proxy IP is neither"]),
        (FILLED.replace("10.1.2.3", "10.1.2.3:8080"), ["Proxy IP is neither"]),
        (FILLED.replace("8080", "0"), ["ProxyPort is not a port"]),
        (FILLED.replace("8080", "٣"), ["ProxyPort is not a port"]),
        (
            FILLED.replace("ProxyUserName=", "ProxyUser="),
            ["'ProxyUser' is not a member of the section; did you mean ProxyUserName?"],
        ),
        (FILLED.replace("corp\\", "corp:"), ["ProxyUserName holds a colon"]),
        (FILLED.replace('"p=;#w d"', ""), ["ProxyPassword is missing"]),
        (FILLED.replace('w d"', "w d"), ["value of ProxyPassword is never closed"]),
        (FILLED + 'ProxyPort = "1"\n', ["line 7 gives ProxyPort once more"]),
        (FILLED + "p=;#w d\n", ["line 7: 'p' is not a member of the section; the members are"]),
        (
            FILLED.replace("ProxyPassword=", "ProxyPassword "),
            ["line 6: what it sets is not a member of the section; did you mean ProxyPassword?"],
        ),
    ],
)
def test_wrong_variants_name_everything_and_no_secret(text: str, said: list[str]) -> None:
    file = read_proxy_settings(text)
    assert file.proxy is None
    assert len(file.problems) == len(said) or text == ""
    for expected in said:
        assert any(expected in problem for problem in file.problems), (expected, file.problems)
    assert "w d" not in str(file.problems)
    assert "svc-ps" not in str(file.problems)


def test_a_proxy_shows_no_password() -> None:
    assert "p=;#w d" not in repr(WHOLE)
    assert "p=;#w d" not in repr(read_proxy_settings(FILLED))


@given(st.text(max_size=200))
def test_any_text_is_read_and_answered(text: str) -> None:
    file = read_proxy_settings(text)
    assert (file.proxy is None) == bool(file.problems)


@given(
    st.text(alphabet=st.characters(categories=["L", "N", "P", "S"], include_characters=" "), min_size=1, max_size=30)
)
def test_a_password_in_quotes_comes_out_as_it_is(password: str) -> None:
    file = read_proxy_settings(FILLED.replace('"p=;#w d"', f'"{password}"'))
    assert file.proxy is not None
    assert file.proxy.password == password


def test_mysql_credentials() -> None:
    good = '[MySQLCredentials]\nMySQLRootPassword = "a b"\nMySQLUserPassword = "c"\n'
    assert check_mysql_credentials(good) == ()
    assert check_mysql_credentials(good.replace("\nMy", "\n* my")) == ()
    assert check_mysql_credentials(good.replace('"c"', '""')) == ("MySQLUserPassword is missing or empty",)
    assert "no section [MySQLCredentials]" in check_mysql_credentials("")[0]
    [problem] = check_mysql_credentials(good.replace('"c"', '"c'))
    assert "never closed" in problem
    [unknown, *_] = check_mysql_credentials(good.replace("MySQLUserPassword", "MySQLPassword"))
    assert "did you mean" in unknown


def test_a_second_section_ends_the_first() -> None:
    section = read_section("[A]\nx = 1\n[B]\ny = 2\n", "A", ("x", "y"))
    assert section.values == {"x": "1"}
    assert section.problems == ("line 3 begins another section than [A]; remove it",)
