"""What a report promises of a sort: neighbours and late pulses count, dry sorts too, and a wrong junction is no success."""

from pathlib import Path

import numpy as np
import pytest
from sort_sessions import MS, write_sort_session

from realtime.sort.deflected import caught, p_deflected, spans_of
from realtime.sort.events import GLOW_BACKGROUND, glowing_pictures
from realtime.sort.figures import figures_of, sort_figures
from realtime.sort.record import outside, read_sort
from realtime.sort.report import page_of, write_sort_report
from realtime.sort.report_words import headline, third_line

AREA = {"area_um2": [60.0, 1000.0]}


def columns(arrival_ms: list[float], sigma_ms: list[float]) -> dict[str, np.ndarray]:
    arrival_ns = np.rint(np.array(arrival_ms) * MS).astype(np.int64)
    return {
        "event_id": np.arange(len(arrival_ms)), "arrival_ns": arrival_ns, "last_ns": arrival_ns - 20 * MS,
        "sigma_ms": np.array(sigma_ms),
    }  # fmt: skip


def test_a_cell_is_deflected_as_often_as_chance_has_it() -> None:
    rng = np.random.default_rng(0)
    spans = np.array([[10.0, 10.3], [10.5, 10.6], [12.0, 12.3]]) * MS
    arrival_ms, sigma_ms = rng.uniform(9.5, 12.5, 40), rng.uniform(0.005, 0.3, 40)
    events = columns(arrival_ms.tolist(), sigma_ms.tolist())
    p = p_deflected(events, spans.astype(np.int64))
    drawn_ns = rng.normal(events["arrival_ns"], sigma_ms * MS, (20_000, 40)).astype(np.int64)
    share = caught(drawn_ns.ravel(), spans.astype(np.int64)).reshape(drawn_ns.shape).mean(axis=0)
    assert p == pytest.approx(share, abs=0.02)


def test_what_is_certain_and_what_nobody_knows() -> None:
    spans = np.array([[10 * MS, 10 * MS + MS // 2]])
    p = p_deflected(columns([10.2, 11.0, 10.2], [0.0, 0.0, np.nan]), spans)
    assert p[:2].tolist() == [1.0, 0.0]
    assert 0 < p[2] < 0.05
    assert not p_deflected(columns([1.0], [0.1]), spans[:0]).any()
    assert not caught(np.array([1]), spans[:0]).any()


def test_pulses_are_where_the_sorter_has_them() -> None:
    events = {"at_ns": np.array([5 * MS, 0, 2 * MS]), "width_ms": np.array([0.5, 0.0, 0.25])}
    spans = spans_of(events, np.array([True, False, True]), delay_ms=1.0)
    assert (spans / MS).tolist() == [[3.0, 3.25], [6.0, 6.5]]


def test_late_pulses_and_neighbours_are_in_what_is_expected(tmp_path: Path) -> None:
    made = write_sort_session(tmp_path / "s")
    figures = sort_figures(tmp_path / "s")
    assert figures["fired"] == (made.latency_ms <= 9).sum() == figures["outcomes"]["done"]
    assert figures["fired"] <= figures["meant"] < figures["sorted"]
    alone = figures["expected_by_class_alone"]
    assert figures["expected"]["purity"] < alone["purity"] - 0.01
    assert figures["expected"]["yield"] < alone["yield"]


def test_who_is_outside_the_ranges_is_not_missed(tmp_path: Path) -> None:
    write_sort_session(tmp_path / "s", where=AREA)
    write_sort_session(tmp_path / "all")
    record, everyone = read_sort(tmp_path / "s"), read_sort(tmp_path / "all")
    is_out = outside(record.events, record.settings.gate)
    assert 0 < is_out.sum() < len(record)
    assert not record.p_wanted[is_out].any()
    assert record.truth is not None
    assert everyone.truth is not None
    assert record.truth.wanted.sum() < everyone.truth.wanted.sum()
    assert "outside the range of area_um2" in third_line(figures_of(record))


def test_a_dry_sort_says_what_would_have_been(tmp_path: Path) -> None:
    made = write_sort_session(tmp_path / "s", dry=True)
    record = read_sort(tmp_path / "s")
    figures = figures_of(record)
    assert figures["fired"] == made.deflected.sum()
    assert figures["true"]["yield"] > 0.7
    assert "would have been fired" in headline(record, figures)
    latency = next(axes for axes in page_of(record, figures).axes if axes.get_title(loc="left").startswith("Latency"))
    assert not latency.axison


def test_a_wrong_junction_is_no_success(tmp_path: Path) -> None:
    write_sort_session(tmp_path / "s", beside_us=700.0)
    figures = sort_figures(tmp_path / "s")
    assert figures["warning"].startswith("sorted cells did not arrive when they were foretold")
    assert "arrival_error_us" not in figures
    assert third_line(figures) == figures["warning"]
    assert write_sort_report(tmp_path / "s").exists()


def test_a_right_junction_needs_no_warning(tmp_path: Path) -> None:
    write_sort_session(tmp_path / "s", n=300)
    assert "warning" not in sort_figures(tmp_path / "s")


def test_cells_that_shine_are_seen_on_dark_ground() -> None:
    crops = np.zeros((2, 5, 5), np.float32)
    crops[0, 2, 2], crops[1, 1, 1] = 300.0, 0.5
    pictures = glowing_pictures(crops)
    assert pictures.max(axis=(1, 2)).tolist() == [255, 255]
    assert np.median(pictures) == GLOW_BACKGROUND
    assert not glowing_pictures(crops[:0]).size
