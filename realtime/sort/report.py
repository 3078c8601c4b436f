"""The picture of a sort: one page that says what was sorted, how surely, how soon, and what was given up and why."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from realtime.plugins import ConfigError
from realtime.sort.figures import figures_of
from realtime.sort.record import SortRecord, read_sort
from realtime.sort.report_crops import crop_rows
from realtime.sort.report_curves import arrival_panel, curve_panel
from realtime.sort.report_gate import gate_panel
from realtime.sort.report_times import latency_panel, verdict_panel
from realtime.sort.report_words import headline, second_line, third_line

NAME = "sort_report.png"
INK, PALE, ALARM = "#222222", "#777777", "#CC0000"
SIZE_INCHES, DPI = (15.0, 11.0), 110


def can_draw() -> bool:
    """Is matplotlib installed?"""
    return find_spec("matplotlib") is not None


def write_sort_report(session: Path, path: Path | None = None) -> Path:
    """Draws `sort_report.png` into the session folder, or PNG at `path`. Raises RecordingError, ConfigError."""
    if not can_draw():
        raise ConfigError('a report needs matplotlib: pip install "reflexscope[score]"')
    record = read_sort(session)
    path = path or session / NAME
    page_of(record, figures_of(record)).savefig(path, format="png")
    return path


def page_of(record: SortRecord, figures: dict[str, Any]) -> Any:
    """The page, a matplotlib Figure; `figures` as of figures_of."""
    from matplotlib.figure import Figure  # without pyplot: no window system is touched

    page = Figure(figsize=SIZE_INCHES, dpi=DPI, facecolor="white")
    page.text(0.03, 0.972, headline(record, figures), fontsize=17, weight="bold", color=INK, va="top")
    page.text(0.03, 0.936, second_line(record, figures), fontsize=12, color=PALE, va="top")
    page.text(0.03, 0.911, third_line(figures), fontsize=11, color=ALARM if "warning" in figures else PALE, va="top")
    grid = page.add_gridspec(
        3, 3, left=0.065, right=0.975, top=0.855, bottom=0.035, height_ratios=(1.0, 1.0, 0.42), hspace=0.42, wspace=0.3
    )
    gate_panel(_dressed(page.add_subplot(grid[0, 0:2])), record)
    verdict_panel(_dressed(page.add_subplot(grid[0, 2])), figures)
    curve_panel(_dressed(page.add_subplot(grid[1, 0])), record, figures)
    latency_panel(_dressed(page.add_subplot(grid[1, 1])), record, figures)
    arrival_panel(_dressed(page.add_subplot(grid[1, 2])), record, figures)
    crop_rows(page, grid[2, :], record)
    return page


def _dressed(axes: Any) -> Any:
    """Without what nobody reads."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=PALE, labelsize=9)
    axes.grid(color="0.93", linewidth=0.8)
    axes.set_axisbelow(True)
    return axes
