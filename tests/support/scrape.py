"""What a scrape of `/metrics` says."""

from collections.abc import Mapping

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """The families of one answer of `/metrics`."""

    def __init__(self, page: str) -> None:
        self.families: Mapping[str, Metric] = {
            family.name: family for family in text_string_to_metric_families(page) if family.samples
        }
        self._values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in self.families.values():
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in self._values, f"the series {key} occurs twice"
                self._values[key] = sample.value

    def value(self, name: str, **labels: str) -> float:
        """The value of one series."""
        return self._values[name, frozenset(labels.items())]

    def total(self, name: str, **labels: str) -> float:
        """The sum of all series with these labels; 0 where there is none."""
        wanted = labels.items()
        return sum(
            value for (found, its), value in self._values.items() if found == name and wanted <= dict(its).items()
        )

    def series(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Every series of a name, by the values of these labels."""
        return {
            tuple(dict(its)[label] for label in labels): value
            for (found, its), value in self._values.items()
            if found == name
        }
