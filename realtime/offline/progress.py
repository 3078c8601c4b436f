"""A progress bar on a terminal, and nothing where nobody watches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress_bar(what: str, n: int) -> Iterator[Callable[..., None]]:
    """On stderr; call what it yields after each item, or with the number of items that are done."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=n)

        def done(items: int = 1) -> None:
            progress.advance(task, items)

        yield done
