"""A bar on the terminal while a file is sent and worked on; nothing at all into a pipe or a file."""

import contextlib
from collections.abc import Callable, Iterator

from app.cli import screen


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
