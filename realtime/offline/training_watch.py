"""A training on the terminal: a bar with loss, rate, score and time left; Ctrl-C ends it with a checkpoint."""

import signal
from types import FrameType, TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

LOSS_MEMORY = 0.98
"""The loss that is shown is a moving average: single steps jump."""
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class TerminalWatch:
    """A models.training.run.Watch; a context in which the first Ctrl-C (or SIGTERM) asks to stop, the second breaks off."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
        )  # fmt: skip
        self._console = console
        self._bar = Bar(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", figures="")
        self._loss: float | None = None
        self._score = ""
        self._stopping = False
        self._before: dict[int, Any] = {}

    def begin(self, title: str, n_steps: int) -> None:
        """Another training begins."""
        self._loss, self._score = None, ""
        self._bar.reset(self._task, total=n_steps, description=title, figures="")

    def stepped(self, progress: Any) -> None:
        """After every step; see models.training.steps.Progress."""
        self._loss = progress.loss if self._loss is None else self._mixed(self._loss, progress.loss)
        figures = f"loss {self._loss:.4f}  rate {progress.rate:.1e}{self._score}"
        self._bar.update(self._task, completed=progress.step, figures=figures)

    def validated(self, validation: Any) -> None:
        """A line that stays."""
        self._score = f"  score {validation.score:.4f}"
        words = f"step {validation.step}: loss {validation.loss:.4f}, validation score {validation.score:.4f}"
        self._console.print(words, highlight=False)

    def finishing(self) -> None:
        """The steps are over; what follows is short and begun anew by --resume, so that Ctrl-C may break it off."""
        self._bar.update(self._task, description="tuning, writing the model", figures="")
        self._restore_signals()

    def stop(self) -> bool:
        """Was the run asked to end?"""
        return self._stopping

    def __enter__(self) -> "TerminalWatch":
        self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._restore_signals()

    def _restore_signals(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    @staticmethod
    def _mixed(before: float, now: float) -> float:
        return LOSS_MEMORY * before + (1 - LOSS_MEMORY) * now
