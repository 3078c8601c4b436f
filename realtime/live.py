"""What a person sees of a run: the status line while it runs, the table when it has ended."""

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from acquisition.clock import NS_PER_S
from realtime.sort.tables import sort_tables
from realtime.wire import AnyMessage, Notice, RunEnded, Status

if TYPE_CHECKING:
    from realtime.inference import Analysis

PLAIN_EVERY_NS = 5 * NS_PER_S
RATE_OVER_NS = NS_PER_S
LEVEL_STYLE = {"info": "cyan", "warning": "yellow", "error": "bold red"}
GAP = "   "
UNITS = {"s": "s", "mj": "mJ"}


class StatusLine:
    """One line that keeps itself up to date on a terminal; a plain line every few seconds in a log."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(Text("starting …"), console=console, refresh_per_second=5, transient=True)
        self._rate_since: Status | None = None
        self._rate_hz = 0.0
        self._printed_ns: int | None = None

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
            level = (message.level, LEVEL_STYLE[message.level])
            self.say(Text.assemble(level, f" {message.source}: {message.text}"))
        elif isinstance(message, RunEnded):
            self.say(Text(f"run ended: {message.reason}"))

    def say(self, text: Text) -> None:
        """A line that stays. Never markup: what others wrote may hold brackets."""
        self._console.print(text, soft_wrap=True)

    def see(self, analysis: "Analysis") -> None:
        """The same for an inline run, which has no telemetry."""
        frame = analysis.scene.frame
        n_cells, n_tracks = len(analysis.scene.cells), len(analysis.scene.tracks)
        parts = [f"frame {frame.index}", f"t {frame.t_ns / NS_PER_S:.1f} s", f"{n_cells} cells", f"{n_tracks} tracks"]
        self._print(parts, frame.t_ns)

    def _show(self, status: Status) -> None:
        self._measure_rate(status)
        self._print([status.state, f"{self._rate_hz:.1f} frames/s", *_figures(status)], status.t_ns)

    def _measure_rate(self, now: Status) -> None:
        since = self._rate_since or now
        if now.t_ns - since.t_ns >= RATE_OVER_NS:
            self._rate_hz = (now.frames - since.frames) * NS_PER_S / (now.t_ns - since.t_ns)
            since = now
        self._rate_since = since

    def _print(self, parts: list[str], t_ns: int, picture: Callable[[], RenderableType] | None = None) -> None:
        """`picture`: what a terminal shows instead of the words."""
        if self._console.is_terminal:
            self._live.update(picture() if picture else Text(fitted(parts, self._console.width)))
        elif self._printed_ns is None:
            self._printed_ns = t_ns
        elif t_ns - self._printed_ns >= PLAIN_EVERY_NS:
            self._printed_ns = t_ns
            self._console.print(GAP.join(parts), highlight=False, soft_wrap=True)


def _figures(status: Status) -> Iterable[str]:
    figure = status.figures.get
    yield f"{figure('inference_cells', 0):.0f} cells"
    yield f"{figure('inference_tracks', 0):.0f} tracks"
    yield f"decision age {figure('decision_age_p50_ms', 0):.1f} ms"
    yield f"lost {status.lost}"
    yield f"skipped {figure('inference_skipped', 0):.0f}"
    yield f"ring {figure('ring_fill', 0):.0%}"
    yield f"disk {figure('recorder_free_gb', 0):.0f} GB free"


def fitted(parts: Iterable[str], width: int) -> str:
    """The parts in as few lines as they need; a line breaks between parts, never within one."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(GAP) + len(part) <= width:
            lines[-1] += GAP + part
        else:
            lines.append(part)
    return "\n".join(lines)


def summary_tables(summary: Mapping[str, Any]) -> list[Table]:
    """summary.json as tables: counts, decisions by policy, and latency by stage unless all time was simulated."""
    tables = [_counts_table(summary), *(sort_tables(summary["sort"]) if "sort" in summary else ())]
    if summary.get("decisions") or summary.get("decisions_of_shadow_policies"):
        tables.append(_decisions_table(summary["decisions"], summary.get("decisions_of_shadow_policies", {})))
    if summary.get("latency", {}).get("exposed_to_decided", {}).get("max_ms"):
        tables.append(_latency_table(summary["latency"]))
    return tables


def _counts_table(summary: Mapping[str, Any]) -> Table:
    table = Table(title="run", show_header=False, title_justify="left")
    for key, value in summary.items():
        if "sort" in summary and key == "events":
            continue  # of tracks, that a sort has none of: its events are cells
        if "sort" in summary and key == "frames_readable" and not value:
            table.add_row(_label(key), "0: pixels are kept as recorder.images says")
        elif key in ("events", "notices"):
            table.add_row(key, ", ".join(f"{count} {kind}" for kind, count in value.items()) or "none")
        elif not isinstance(value, (dict, list)):
            table.add_row(_label(key), Text(_words(value)))
    return table


def _label(key: str) -> str:
    """`duration_s` → `duration (s)`."""
    *words, last = key.split("_")
    return " ".join([*words, f"({UNITS[last]})" if last in UNITS else last])


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _decisions_table(decisions: Mapping[str, Mapping[str, int]], shadow: Mapping[str, int]) -> Table:
    """What shadow policies decided stands in a column of its own, for nothing became of it."""
    statuses = ("done", "late", "refused", "failed", "unanswered")
    table = _table_of_numbers("decisions", "policy", (*statuses, *(("not acted on",) if shadow else ())))
    for policy, counts in decisions.items():
        table.add_row(policy, *(str(counts.get(status, 0)) for status in statuses))
    for policy, n in shadow.items():
        table.add_row(f"{policy} (shadow)", *("–" for _ in statuses), str(n))
    return table


def _latency_table(latency: Mapping[str, Mapping[str, float]]) -> Table:
    columns = {"n": "n", "p50_ms": "p50 ms", "p99_ms": "p99 ms", "p99_9_ms": "p99.9 ms", "max_ms": "max ms"}
    table = _table_of_numbers("latency ledger", "stage", columns.values())
    for stage, row in latency.items():
        table.add_row(stage.replace("_", " "), *(f"{row[c]:.0f}" if c == "n" else f"{row[c]:.3f}" for c in columns))
    return table


def _table_of_numbers(title: str, first: str, columns: Iterable[str]) -> Table:
    table = Table(first, title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right")
    return table
