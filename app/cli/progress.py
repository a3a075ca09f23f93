"""How far long work is: a bar on a terminal, a line for each change elsewhere; on standard error, beside the result."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from app.cli import jobs, screen
from app.cli.client import ApiClient
from app.cli.formatting import number, plain

Shown = Callable[[float, str], None]
"""Shows how far it is, 0 to 100, and a word on it."""


@contextlib.contextmanager
def bar(title: str) -> Iterator[Shown]:
    """Show progress until the context is left; nothing of the bar stays on the screen."""
    onto = screen.console(stderr=True)
    if not onto.is_terminal:
        yield _lines(title)
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    words = TextColumn("{task.fields[word]}")
    with Progress(*columns, words, TimeElapsedColumn(), console=onto, transient=True) as drawn:
        task = drawn.add_task(title, total=100, word="")

        def show(percent: float, word: str) -> None:
            drawn.update(task, completed=percent, word=word)

        yield show


def follow(client: ApiClient, path: str, job: dict[str, Any], title: str) -> dict[str, Any]:
    """Wait for a job's end behind a bar. Returns the job as it ended; Ctrl-C ends only the waiting."""
    with bar(title) as show:
        word, percent = plain(job.get("state")), 0.0

        def look(found: Mapping[str, Any]) -> None:
            nonlocal word, percent
            word, percent = plain(found.get("state")), number(found.get("progressPercentage")) or 0.0
            show(percent, word)

        def tell(line: str) -> None:
            # An outage: what is known of the job stays.
            show(percent, line)

        return jobs.follow(client, path, job, tell, look)


def _lines(title: str) -> Shown:
    told = ""

    def show(percent: float, word: str) -> None:
        nonlocal told
        line = f"{title}: {word} {percent:.0f} %"
        if line != told:
            screen.note(line)
            told = line

    return show


@contextlib.contextmanager
def sending(total: int, sending_text: str, working_text: str) -> Iterator[Callable[[int], None]]:
    """Yields what to call with the bytes that went. Once all `total` went, the bar moves to and fro."""
    onto = screen.console(stderr=True)
    if not onto.is_terminal:
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=onto, transient=True) as progress:
        task = progress.add_task(sending_text, total=total)
        gone = 0

        def went(count: int) -> None:
            nonlocal gone
            gone += count
            if gone < total:
                progress.update(task, completed=gone)
            else:
                progress.update(task, description=working_text, total=None)

        yield went
