"""The benchmark of rebalance plans itself, on few sites."""

import json

import pytest

from tests.bench import rebalance
from tests.support.worlds import random_site


def test_figures_of_a_few_sites(capsys: pytest.CaptureFixture[str]) -> None:
    code = rebalance.main(["--sites", "3", "--seed", "40", "--json"])
    figures = json.loads(capsys.readouterr().out)
    assert code in {0, 2}
    assert figures["sites"] == 3
    assert figures["moves"] >= figures["bound of moves"]
    assert figures["plan of the result is empty"] == 1


def test_first_fit_decreasing_keeps_the_level() -> None:
    site = random_site(3, machines=(10, 100))
    assert rebalance.first_fit_decreasing(site, 0) is None
    where = rebalance.first_fit_decreasing(site, 10_000)
    if where is not None:
        assert all(load.fits(one.limit) for load, one in zip(site.loads(where), site.servers, strict=True))


def test_a_seed_is_a_site() -> None:
    assert random_site(7) == random_site(7)
    assert random_site(7) != random_site(8)
