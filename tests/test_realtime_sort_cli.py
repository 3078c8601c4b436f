"""`reflexscope sort` as a person meets it: its errors, the live table, the tables at the end."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table
from test_realtime_cli import Command, reflexscope, tiny  # noqa: F401  # fixtures

from acquisition.clock import NS_PER_MS, NS_PER_S
from realtime.latency import Histogram
from realtime.live import summary_tables
from realtime.session.reader import SessionReader
from realtime.session.sort_account import SortAccount
from realtime.sort.live_sort import SortTable
from realtime.sort.tables import binned, latency_table, quality_table
from realtime.sort.tally import SortTally
from realtime.sort.verdicts import Verdict
from realtime.wire import Notice, OutcomeReached, Status, StripsSorted
from tests.flow_rig import SECTIONS, flow_config
from tests.sorted_stacks import RUN, outcome, stack

GONE = [Verdict.SORTED, Verdict.UNWANTED, Verdict.UNWANTED, Verdict.COINCIDENCE]


def test_a_config_that_does_not_sort_is_a_mistake(reflexscope: Command, tiny: object) -> None:  # noqa: F811
    assert "has no section [sort]" in reflexscope.mistake("sort", tiny)


@pytest.mark.parametrize("dry", [False, True])
def test_a_sort_ends_with_its_figures_and_a_report(dry: bool, reflexscope: Command, tmp_path: Path) -> None:  # noqa: F811
    flow = {"junction_um": 2500.0, "speed_um_s": 25_000.0}
    config = flow_config(
        tmp_path, imaging={"interval_ms": 1.0}, sort=SECTIONS["sort"] | {"flow": flow},
        microscope={"cells_per_s": 200.0, "wanted_share": 0.2, "speed_um_s": 25_000.0},
    )  # fmt: skip
    words = ["--inline", "--duration", 1.0, "--out", tmp_path / "s", *(["--dry"] if dry else [])]
    answer = reflexscope("sort", config, *words)
    assert (answer.status, answer.err) == (0, "")
    for part in ("ran for 1 s as asked", "events per s", "verdict", "sort_report.png"):
        assert part in answer.out
    assert ("would have been fired (dry)" in answer.out) == ("the dry sort would have been" in answer.out) == dry
    assert "events                          │ none" not in answer.out
    assert (tmp_path / "s" / "sort_report.png").exists()
    messages = list(SessionReader(tmp_path / "s").records())
    looked = [message for message in messages if isinstance(message, StripsSorted)]
    assert any(message.shadow for message in looked) == dry
    assert any(message.decisions for message in looked) != dry
    assert any(isinstance(message, OutcomeReached) for message in messages) != dry


# --- while it runs ------------------------------------------------------------------------------------------------


def status(seconds: float, tally: SortTally, **figures: float) -> Status:
    """As the acquisition process tells it, with the figures of inference's heartbeat."""
    told = {f"inference_{name}": float(value) for name, value in tally.figures().items()} | figures
    return Status(run=RUN, t_ns=round(seconds * NS_PER_S), state="running", frames=9, lost=0, figures=told)


def watched(console: Console) -> SortTable:
    """Some seconds of a sort: 4 events, then 400 a second; one pulse fired, one refused."""
    table, tally = SortTable(console), SortTally()
    (made,) = stack(1, GONE).decisions
    with table:
        tally.add(stack(1, GONE))
        table.watch(status(1.0, tally, ring_fill=0.25, stacks_behind=3.0))
        table.watch(outcome(made, "done", "gate opened 0.004 ms from its moment", after_ms=4.2))
        table.watch(outcome(made, "refused", "the gate is taken", after_ms=7.7))
        for index in range(2, 552):
            tally.add(stack(index, GONE))
        tally.skipped = 2
        table.watch(status(6.5, tally, ring_fill=0.5, stacks_behind=7.0))
        table.watch(Notice(run=RUN, t_ns=0, source="inference", level="error", text="2 stacks [overwritten]"))
    return table


def test_a_log_gets_a_line_every_few_seconds() -> None:
    console = Console(file=io.StringIO(), width=300)
    watched(console)
    lines = [line.strip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    (line,) = (line for line in lines if "events/s" in line)
    assert "2204 events" in line
    assert "1 pulses fired   1 not fired" in line
    assert "expected purity by class alone 99.0%" in line
    assert "ring 50%   7 stacks behind   skipped 2   lost 0" in line
    assert "error inference: 2 stacks [overwritten]" in lines


def test_a_terminal_shows_cells_pulses_and_latency() -> None:
    console = Console(file=io.StringIO(), width=160, force_terminal=True, color_system=None)
    table = watched(console)
    text = _drawn(table._live.get_renderable())
    for words in (
        "400 events/s",
        "unwanted",
        "1102",
        "coincidence",
        "refused: the gate is taken",
        "up to 5",
        "up to 10",
    ):
        assert words in text


def test_an_inline_run_is_shown_from_its_own_words() -> None:
    console = Console(file=io.StringIO(), width=160, force_terminal=True, color_system=None)
    table = SortTable(console)
    with table:
        for index in range(1, 1002):
            table.watch(stack(index, GONE))
    assert "4004 events" in _drawn(table._live.get_renderable())
    assert "1000 events/s" in _drawn(table._live.get_renderable())


def _drawn(picture: object) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(picture)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


# --- when it is over ----------------------------------------------------------------------------------------------


def test_the_summary_has_tables_of_the_sort() -> None:
    account = SortAccount()
    sorted_stack = stack(1, GONE)
    for message in (sorted_stack, stack(2, GONE)):
        account.add(message)
    (made,) = sorted_stack.decisions
    account.add_outcome(outcome(made, "late", "its moment passed 0.2 ms ago", 19.0), NS_PER_S)
    text = "".join(_drawn(table) for table in summary_tables({"run": RUN, "sort": account.as_dict()}))
    for words in ("events per s", "99.00%", "late: its moment passed … ms ago", Verdict.COINCIDENCE.meaning[:20]):
        assert words in text


def test_the_truth_is_told_where_it_is_known() -> None:
    text = _drawn(quality_table({"true": {"cells": 4210.0, "purity": 0.967}, "arrival_error_us": {"abs_p99": 41.5}}))
    for words in ("true cells", "4210", "true purity", "96.70%", "99 % wrong by less than (µs)", "41.5"):
        assert words in text


def test_the_histogram_counts_every_pulse_once() -> None:
    histogram = Histogram()
    times_ms = np.random.default_rng(5).lognormal(1.5, 0.8, 500)
    for time_ms in times_ms:
        histogram.add(round(time_ms * NS_PER_MS))
    counts = dict(binned(histogram))
    assert sum(counts.values()) == 500
    assert counts["up to 10"] == pytest.approx(np.count_nonzero((times_ms > 5) & (times_ms <= 10)), abs=25)
    assert isinstance(latency_table(histogram), Table)
    assert not binned(Histogram())
