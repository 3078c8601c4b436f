"""What a person sees of a run: the status line while it runs, the table when it has ended."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from acquisition.clock import NS_PER_S
from realtime.inference import Analysis
from realtime.wire import AnyMessage, Notice, RunEnded, Status

PLAIN_EVERY_NS = 5 * NS_PER_S
LEVEL_STYLE = {"info": "cyan", "warning": "yellow", "error": "bold red"}


class StatusLine:
    """One line that keeps itself up to date on a terminal; a plain line every few seconds in a log."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(Text("starting …"), console=console, refresh_per_second=5, transient=True)
        self._last: Status | None = None
        self._printed_ns = 0

    def __enter__(self) -> "StatusLine":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._live.stop()

    def watch(self, message: AnyMessage) -> None:
        """Take in one telemetry message."""
        if isinstance(message, Status):
            self._show(message)
        elif isinstance(message, Notice):
            self.say(f"[{LEVEL_STYLE.get(message.level, '')}]{message.level}[/] {message.source}: ", message.text)
        elif isinstance(message, RunEnded):
            self.say("", f"run ended: {message.reason}")

    def say(self, markup: str, text: str) -> None:
        """A line that stays."""
        self._console.print(Text.from_markup(markup).append(text))

    def see(self, analysis: Analysis) -> None:
        """The same for an inline run, which has no telemetry."""
        frame = analysis.scene.frame
        n_cells, n_tracks = len(analysis.scene.cells), len(analysis.scene.tracks)
        text = f"frame {frame.index}   t {frame.t_ns / NS_PER_S:.1f} s   cells {n_cells}   tracks {n_tracks}"
        self._print(text, frame.t_ns)

    def _show(self, status: Status) -> None:
        rate_hz = _rate_hz(self._last, status)
        self._last = status
        figure = status.figures.get
        missed = figure("inference_skipped", 0)
        self._print(
            f"{status.state}   {rate_hz:.1f} frames/s   cells {figure('inference_cells', 0):.0f}   "
            f"tracks {figure('inference_tracks', 0):.0f}   decision age {figure('decision_age_p50_ms', 0):.1f} ms   "
            f"lost {status.lost}   skipped {missed:.0f}   ring {figure('ring_fill', 0):.0%}   "
            f"disk {figure('recorder_free_gb', 0):.0f} GB free",
            status.t_ns,
        )

    def _print(self, text: str, t_ns: int) -> None:
        if self._console.is_terminal:
            self._live.update(Text(text))
        elif t_ns - self._printed_ns >= PLAIN_EVERY_NS or t_ns < self._printed_ns:
            self._printed_ns = t_ns
            self._console.print(text, highlight=False)


def _rate_hz(before: Status | None, now: Status) -> float:
    if before is None or now.t_ns <= before.t_ns:
        return 0.0
    return (now.frames - before.frames) * NS_PER_S / (now.t_ns - before.t_ns)


def summary_tables(summary: Mapping[str, Any]) -> list[Table]:
    """summary.json as tables: counts, decisions by policy, latency by stage."""
    tables = [_counts_table(summary)]
    if summary.get("decisions"):
        tables.append(_decisions_table(summary["decisions"]))
    if summary.get("latency"):
        tables.append(_latency_table(summary["latency"]))
    return tables


def _counts_table(summary: Mapping[str, Any]) -> Table:
    table = Table(title="run", show_header=False, title_justify="left")
    for key, value in summary.items():
        if not isinstance(value, (dict, list)):
            table.add_row(key.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else str(value))
    return table


def _decisions_table(decisions: Mapping[str, Mapping[str, int]]) -> Table:
    statuses = ("done", "late", "refused", "failed")
    table = Table("policy", *statuses, title="decisions", title_justify="left")
    for policy, counts in decisions.items():
        table.add_row(policy, *(str(counts.get(status, 0)) for status in statuses))
    return table


def _latency_table(latency: Mapping[str, Mapping[str, float]]) -> Table:
    columns = ("n", "p50_ms", "p99_ms", "p99_9_ms", "max_ms")
    table = Table("stage", *columns, title="latency ledger", title_justify="left")
    for stage, row in latency.items():
        table.add_row(stage, *(f"{row[c]:.0f}" if c == "n" else f"{row[c]:.3f}" for c in columns))
    return table
