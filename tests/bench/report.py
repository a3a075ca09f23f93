"""Medians, ratios and targets of a run, and how they are shown."""

import textwrap
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.bench import subjects
from tests.bench.beats import LoadResult

BUSY_GENERATOR = 0.95
BUSY_OTHERS_PERCENT = 10


@dataclass(frozen=True)
class Spread:
    """A figure measured in several rounds: its median, and the lowest and highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: list[float]) -> "Spread":
        """Summarise one figure per round."""
        return cls(median(figures), min(figures), max(figures))

    def show(self, digits: int) -> str:
        """Return the figures as text."""
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"


@dataclass(frozen=True)
class Target:
    """What the throughput of one subject must be, as a multiple of another's."""

    subject: str
    reference: str
    at_least: float


TARGETS = (
    Target(subjects.MUSTER_POSTGRESQL, subjects.BARE, 0.40),
    Target(subjects.MUSTER_SQLITE, subjects.BARE, 0.22),
    Target(subjects.MUSTER_POSTGRESQL, subjects.SESSION_POSTGRESQL, 25.0),
)
# Shown without a target: on SQLite both sides wait for the same disk, and how long depends on the disk alone.
COMPARISONS = ((subjects.MUSTER_SQLITE, subjects.SESSION_SQLITE),)

Rounds = dict[str, list[LoadResult]]


def ratio(rounds: Rounds, subject: str, reference: str) -> Spread | None:
    """Compare two subjects round by round, so that what slows the machine for a while slows both."""
    if not rounds.get(subject) or not rounds.get(reference):
        return None
    pairs = zip(rounds[subject], rounds[reference], strict=False)
    return Spread.of([one.per_second / other.per_second for one, other in pairs if other.per_second])


def as_json(rounds: Rounds, setting: dict[str, Any], notes: list[str], problems: list[str]) -> dict[str, Any]:
    """Return everything that was measured."""
    return {
        "setting": setting,
        "subjects": {
            name: {
                "perSecond": vars(Spread.of([result.per_second for result in results])),
                "p50Milliseconds": vars(Spread.of([result.p50_milliseconds for result in results])),
                "p99Milliseconds": vars(Spread.of([result.p99_milliseconds for result in results])),
                "ofBare": _vars(ratio(rounds, name, subjects.BARE)),
                "acknowledged": sum(result.acknowledged for result in results),
                "failed": sum(result.failed for result in results),
                "generatorBusy": median(result.generator_busy for result in results),
            }
            for name, results in rounds.items()
        },
        "targets": [
            {
                "subject": target.subject,
                "reference": target.reference,
                "atLeast": target.at_least,
                "measured": _vars(measured),
                "isMet": measured.median >= target.at_least,
            }
            for target, measured in measured_targets(rounds)
        ],
        "comparisons": [
            {"subject": subject, "reference": reference, "measured": _vars(ratio(rounds, subject, reference))}
            for subject, reference in COMPARISONS
        ],
        "notes": notes,
        "problems": problems,
    }


def measured_targets(rounds: Rounds) -> list[tuple[Target, Spread]]:
    """Return the targets that this run can speak about, with what it measured."""
    pairs = [(target, ratio(rounds, target.subject, target.reference)) for target in TARGETS]
    return [(target, measured) for target, measured in pairs if measured is not None]


def as_text(rounds: Rounds, setting: dict[str, Any], notes: list[str], problems: list[str]) -> str:
    """Return the tables for people."""
    lines = [*textwrap.wrap(", ".join(f"{name}: {value}" for name, value in setting.items()), 136), ""]
    lines.append(_row("medians (lowest to highest round)", "per second", "p50 ms", "p99 ms", "of bare"))
    for name, results in rounds.items():
        of_bare = None if name == subjects.BARE else ratio(rounds, name, subjects.BARE)
        lines.append(
            _row(
                subjects.TITLES[name],
                Spread.of([result.per_second for result in results]).show(0),
                Spread.of([result.p50_milliseconds for result in results]).show(2),
                Spread.of([result.p99_milliseconds for result in results]).show(2),
                of_bare.show(3) if of_bare else "",
            )
        )
    lines.append("")
    for target, measured in measured_targets(rounds):
        word = "met" if measured.median >= target.at_least else "MISSED"
        pair = _pair(target.subject, target.reference)
        lines.append(f"{pair:<62} {measured.show(2):>24}   target {target.at_least:g}: {word}")
    for subject, reference in COMPARISONS:
        compared = ratio(rounds, subject, reference)
        if compared is not None:
            lines.append(f"{_pair(subject, reference):<62} {compared.show(2):>24}   no target")
    lines += ["", *(f"note: {note}" for note in notes), *(f"FAILED: {one}" for one in problems)]
    return "\n".join(lines).rstrip() + "\n"


def notes_on(rounds: Rounds, others: Spread) -> list[str]:
    """Return what a reader must know to take the figures for what they are.

    `others` is how busy the machine was, in percent, while no subject had anything to do.
    """
    notes = [
        f"the load generator was at its limit for {subjects.TITLES[name]}, which can do more than this"
        for name, results in rounds.items()
        if median(result.generator_busy for result in results) > BUSY_GENERATOR
    ]
    if others.median > BUSY_OTHERS_PERCENT:
        # The bare application and its load fit beside other work; Muster, its database and their load do not.
        notes.append(
            f"other work took {others.median:.0f} % of this machine's processors: every figure is too low, and the"
            " ratios to the bare application, which needs the fewest processors, most of all"
        )
    return notes


def _pair(subject: str, reference: str) -> str:
    return f"{subjects.TITLES[subject]} / {subjects.TITLES[reference]}"


def _row(title: str, *cells: str) -> str:
    widths = (26, 26, 26, 25)
    return f"{title:<33}" + "".join(f" {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _vars(spread: Spread | None) -> dict[str, float] | None:
    return None if spread is None else vars(spread)
