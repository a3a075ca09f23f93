"""Courses of values in one line of text. Pure."""

from collections.abc import Sequence

GAP = "·"
BARS = "▁▂▃▄▅▆▇█"
PLAIN_GAP = " "
PLAIN_BARS = "_.-=+*%#"
"""For terminals and files that are not in Unicode."""

Weighted = tuple[float, int]
"""A mean and the number of values it is of."""


def sparkline(values: Sequence[Weighted | None], width: int, greatest: float, *, is_plain: bool = False) -> str:
    """`values` from 0 to `greatest` as bars, in at most `width` characters; None is a gap.

    Where there are more values than characters, each stands for the mean of its share of them, a gap for all None.
    """
    bars, gap = (PLAIN_BARS, PLAIN_GAP) if is_plain else (BARS, GAP)
    columns = max(1, min(width, len(values)))
    shares = [
        values[column * len(values) // columns : (column + 1) * len(values) // columns] for column in range(columns)
    ]
    return "".join(_bar(mean_of(share), greatest, bars, gap) for share in shares)


def mean_of(values: Sequence[Weighted | None]) -> float | None:
    """The mean of all values that the means are of; None where there is none."""
    known = [value for value in values if value is not None]
    count = sum(weight for _, weight in known)
    return sum(mean * weight for mean, weight in known) / count if count else None


def _bar(value: float | None, greatest: float, bars: str, gap: str) -> str:
    if value is None:
        return gap
    share = min(max(value / greatest, 0.0), 1.0) if greatest > 0 else 0.0
    return bars[min(int(share * len(bars)), len(bars) - 1)]
