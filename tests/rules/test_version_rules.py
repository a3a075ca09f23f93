"""Version rules of domain section 2."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.versions.rules import CatalogueEntry, Version, is_compatible, newest, status_of
from app.vocabulary import VersionStatus

numbers = st.integers(0, 9_999_999)
versions = st.builds(Version, numbers, numbers, numbers, numbers)
entries = st.builds(CatalogueEntry, versions, st.booleans(), st.booleans())


def release(text: str, *, is_withdrawn: bool = False, needs_security_update: bool = False) -> CatalogueEntry:
    return CatalogueEntry(Version.parse(text), is_withdrawn, needs_security_update)


SHIPPED = [release(text) for text in ("9.57.6920.1", "9.59.6930.1", "9.60.6956.1", "9.61.7016.1", "9.62.7096.1")]


@given(versions)
def test_a_version_is_read_as_it_is_written(version: Version) -> None:
    assert Version.parse(str(version)) == version


@pytest.mark.parametrize(
    "text",
    ["", "9", "9.62", "9.62.7096", "9.62.7096.1.2", "9.62.7096.", "a.b.c.d", "9.62.7096.-1", " 9.62.7096.1",
     "9.62.7096.1\n", "9,62,7096,1", "9.62.7096.1234567890", "999999999.999999999.999999999.999",
     "\u0669.62.7096.1", "v9.62.7096.1"],
)  # fmt: skip
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not a version"):
        Version.parse(text)


def test_parts_are_compared_as_numbers() -> None:
    assert Version.parse("9.10.0.0") > Version.parse("9.9.9999.9")
    assert Version.parse("10.0.0.0") > Version.parse("9.62.7096.1")
    assert Version.parse("9.62.7096.10") > Version.parse("9.62.7096.9")


@given(versions, versions)
def test_a_process_server_is_compatible_when_it_is_not_newer(left: Version, right: Version) -> None:
    assert is_compatible(left, right) == (tuple(left) <= tuple(right))


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("9.62.7096.1", VersionStatus.SUPPORTED),
        ("9.63.0.0", VersionStatus.SUPPORTED),
        ("10.0.0.0", VersionStatus.SUPPORTED),
        ("9.59.6930.1", VersionStatus.SUPPORTED),
        ("9.58.0.0", VersionStatus.DEPRECATED),
        ("9.57.6920.1", VersionStatus.NOT_SUPPORTED),
        ("8.62.7096.1", VersionStatus.NOT_SUPPORTED),
    ],
)
def test_support_is_n_minus_4(version: str, status: VersionStatus) -> None:
    assert status_of(Version.parse(version), SHIPPED) is status


def test_a_withdrawn_release_asks_for_an_update_and_is_not_the_newest() -> None:
    catalogue = [*SHIPPED, release("9.70.1.1", is_withdrawn=True)]
    assert newest(catalogue) == Version.parse("9.62.7096.1")
    assert status_of(Version.parse("9.70.1.1"), catalogue) is VersionStatus.UPDATE_REQUIRED
    assert status_of(Version.parse("9.59.6930.1"), catalogue) is VersionStatus.SUPPORTED


def test_the_worst_word_applies() -> None:
    hole = [*SHIPPED, release("9.61.9999.1", needs_security_update=True)]
    assert status_of(Version.parse("9.61.9999.1"), hole) is VersionStatus.SECURITY_UPDATE_REQUIRED
    both = [*SHIPPED, release("9.61.9999.1", is_withdrawn=True, needs_security_update=True)]
    assert status_of(Version.parse("9.61.9999.1"), both) is VersionStatus.SECURITY_UPDATE_REQUIRED
    old = [*SHIPPED, release("9.50.1.1", needs_security_update=True)]
    assert status_of(Version.parse("9.50.1.1"), old) is VersionStatus.NOT_SUPPORTED


@given(versions)
def test_an_empty_catalogue_condemns_nobody(version: Version) -> None:
    assert status_of(version, []) is VersionStatus.SUPPORTED
    assert newest([]) is None


@given(version=versions, catalogue=st.lists(entries, max_size=6), added=entries)
def test_a_new_release_never_makes_an_older_version_look_better(
    version: Version, catalogue: list[CatalogueEntry], added: CatalogueEntry
) -> None:
    order = list(VersionStatus)
    before, after = status_of(version, catalogue), status_of(version, [*catalogue, added])
    assert order.index(after) >= order.index(before)
