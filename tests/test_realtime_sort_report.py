"""A recorded sort in figures and as a picture."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sort_sessions import write_sort_session
from typer.testing import CliRunner

from realtime.cli import app
from realtime.plugins import ConfigError
from realtime.session.disk import CONFIG, RecordingError
from realtime.sort import report
from realtime.sort.curves import expected_curve, purity_and_yield, true_curve
from realtime.sort.figures import figures_of, sort_figures
from realtime.sort.record import read_sort
from realtime.sort.report import write_sort_report
from realtime.sort.report_gate import thresholds
from realtime.sort.true_cells import NOBODY, TrueCells, matched

PNG = b"\x89PNG\r\n"


def test_figures_are_those_of_what_was_recorded(tmp_path: Path) -> None:
    made = write_sort_session(tmp_path / "session")
    figures = sort_figures(tmp_path / "session")
    assert figures["events"] == made.n
    assert figures["sorted"] == figures["verdicts"]["sorted"] == made.deflected.sum()
    assert sum(figures["verdicts"].values()) == made.n
    assert figures["outcomes"]["late"] == (made.latency_ms > 9).sum()
    assert figures["scheduled_ms"]["p99"] == pytest.approx(np.quantile(made.latency_ms, 0.99), abs=1e-5)
    true = figures["true"]
    assert true["purity"] == pytest.approx(made.wanted[made.deflected].mean())
    assert true["yield"] == pytest.approx(made.deflected[made.wanted].mean())
    assert true["enrichment"] == pytest.approx(true["purity"] / made.wanted.mean(), rel=0.01)
    assert true["followed"] > 0.99
    assert figures["arrival_error_us"]["sd"] == pytest.approx(made.error_us[made.deflected].std(), rel=0.02)
    assert figures["arrival_error_us"]["standard_errors_sd"] == pytest.approx(1.0, abs=0.2)


def test_without_truth_there_are_expectations_only(tmp_path: Path) -> None:
    write_sort_session(tmp_path / "session", n=200, with_truth=False)
    figures = sort_figures(tmp_path / "session")
    assert "true" not in figures
    assert "arrival_error_us" not in figures
    assert 0 < figures["expected"]["purity"] <= 1


@pytest.mark.parametrize("with_truth", [True, False])
def test_the_picture_is_drawn(tmp_path: Path, with_truth: bool) -> None:
    write_sort_session(tmp_path / "session", n=400, with_truth=with_truth)
    path = write_sort_report(tmp_path / "session")
    assert path == tmp_path / "session" / "sort_report.png"
    assert path.read_bytes().startswith(PNG)


@pytest.mark.parametrize("n", [1, 2])
def test_the_picture_of_next_to_nothing(tmp_path: Path, n: int) -> None:
    """One cell, that nobody wanted: no pulse, no picture, nothing to divide by."""
    write_sort_session(tmp_path / "session", n=n, seed=3)
    assert write_sort_report(tmp_path / "session", tmp_path / "own.png").read_bytes().startswith(PNG)


def test_cells_that_were_never_seen_whole_have_no_area(tmp_path: Path) -> None:
    write_sort_session(tmp_path / "session", n=50)
    record = read_sort(tmp_path / "session")
    nameless = replace(record, events=record.events | {"area_um2": np.full(50, np.nan)})
    page = report.page_of(nameless, figures_of(nameless))
    assert len(page.axes) > 5


def test_no_sort_no_report(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no session is here"):
        sort_figures(tmp_path)
    write_sort_session(tmp_path / "session", n=5)
    (tmp_path / "session" / CONFIG).write_text("[config]\n", "utf-8")
    with pytest.raises(RecordingError, match=r"no section \[sort\]"):
        sort_figures(tmp_path / "session")


def test_without_matplotlib_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "can_draw", lambda: False)
    with pytest.raises(ConfigError, match=r"pip install .reflexscope\[score\]"):
        write_sort_report(tmp_path)


def test_the_command(tmp_path: Path) -> None:
    write_sort_session(tmp_path / "session", n=60)
    figures, picture = tmp_path / "figures.json", tmp_path / "picture.png"
    words = ["sort-report", str(tmp_path / "session"), "--json", str(figures), "--out", str(picture)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert msgspec.json.decode(figures.read_bytes())["events"] == 60
    assert picture.read_bytes().startswith(PNG)


def test_figures_alone_draw_nothing(tmp_path: Path) -> None:
    write_sort_session(tmp_path / "session", n=60)
    done = CliRunner().invoke(app, ["sort-report", str(tmp_path / "session"), "--json", "-"])
    assert done.exit_code == 0, done.output
    assert msgspec.json.decode(done.stdout)["events"] == 60
    assert not (tmp_path / "session" / report.NAME).exists()


def cells(arrival_us: list[float], y_um: list[float], wanted: list[bool] | None = None) -> TrueCells:
    n = len(arrival_us)
    flags = np.array(wanted if wanted is not None else [False] * n)
    arrival_ns = np.array([round(1e3 * each) for each in arrival_us], np.int64)
    return TrueCells(arrival_ns, arrival_ns, np.array(y_um), flags, flags)


@pytest.mark.parametrize(
    ("arrival_us", "y_um", "sigma_ms", "cell"),
    [
        (1_010.0, 16.0, 0.02, 0),
        (1_060.0, 20.0, 0.02, 1),  # nearer in time to both, but across the channel only to one
        (1_060.0, 16.0, 0.02, 0),
        (1_500.0, 16.0, 0.02, NOBODY),
        (1_500.0, 16.0, 0.20, 2),  # its arrival is uncertain
        (1_010.0, 2.0, 0.02, NOBODY),
    ],
)
def test_an_event_is_the_nearest_true_cell(arrival_us: float, y_um: float, sigma_ms: float, cell: int) -> None:
    truth = cells([1_000.0, 1_080.0, 1_800.0], [16.0, 22.0, 16.0])
    events = {
        "event_id": np.array([1]), "arrival_ns": np.array([round(1e3 * arrival_us)]),
        "y_um": np.array([y_um]), "sigma_ms": np.array([sigma_ms]),
    }  # fmt: skip
    assert matched(events, truth).tolist() == [cell]


def test_where_nobody_passed_nobody_is_matched() -> None:
    events = {name: np.zeros(2) for name in ("event_id", "arrival_ns", "y_um", "sigma_ms")}
    assert matched(events, cells([], [])).tolist() == [NOBODY, NOBODY]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_curves_are_what_counting_says(rows: list[tuple[float, bool]]) -> None:
    p, wanted = np.array([row[0] for row in rows]), [row[1] for row in rows]
    truth = cells([float(k) for k in range(len(rows))], [0.0] * len(rows), wanted)
    threshold = np.array([0.0, 0.3, 0.7, 1.0])
    curve, promised = true_curve(p, np.arange(len(rows)), truth, threshold), expected_curve(p, threshold)
    for i, asked in enumerate(threshold):
        chosen = p >= asked
        assert (curve.purity[i], curve.yielded[i]) == pytest.approx(
            purity_and_yield(chosen, truth.wanted, truth.wanted.sum()), nan_ok=True
        )
        assert promised.purity[i] == pytest.approx(p[chosen].mean() if chosen.any() else np.nan, nan_ok=True)


def test_a_cell_that_was_two_events_is_found_once() -> None:
    truth = cells([0.0], [0.0], [True])
    curve = true_curve(np.array([0.9, 0.8]), np.array([0, 0]), truth, np.array([0.5]))
    assert curve.yielded.tolist() == [1.0]
    assert curve.purity.tolist() == [0.5]


def test_the_line_in_the_picture_is_where_the_sort_decides(tmp_path: Path) -> None:
    """As realtime/sort/evidence.py has it: written twice, for a report needs no classifier."""
    write_sort_session(tmp_path / "session", n=5)
    gate = read_sort(tmp_path / "session").settings.gate
    low, high = thresholds(read_sort(tmp_path / "session"))
    odds = gate.wanted_share / (1 - gate.wanted_share)
    assert high / (1 - high) == pytest.approx(odds * (1 - gate.misses) / gate.false_triggers)
    assert low / (1 - low) == pytest.approx(odds * gate.misses / (1 - gate.false_triggers))
