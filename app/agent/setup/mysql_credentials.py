"""The MySQL credentials file of a configuration server. Pure functions.

Source: the configuration server's page: ``[MySQLCredentials]`` with two passwords. Muster has no MySQL; the file is
checked, so that a line which worked with Unified Setup works here, and nothing of it is kept.
"""

from .ini_file import read_section

HEADING = "MySQLCredentials"
_NAMES = ("MySQLRootPassword", "MySQLUserPassword")


def check_mysql_credentials(text: str) -> tuple[str, ...]:
    """Return everything that is wrong with the file; empty if it is fit."""
    section = read_section(text, HEADING, _NAMES)
    missing = [f"{name} is missing or empty" for name in _NAMES if not section.values.get(name)]
    said = " ".join(section.problems)
    return (*section.problems, *(line for line in missing if line.split()[0] not in said))
