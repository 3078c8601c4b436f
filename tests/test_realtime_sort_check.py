"""`reflexscope check` before a sort: what keeps up passes, and what does not is found and said with what helps."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_realtime_cli import Command, reflexscope  # noqa: F401  # a fixture

from acquisition.clock import SimulatedClock
from acquisition.microscope import Imaging
from realtime import check, cli
from realtime.config import load_config
from realtime.plugins import ConfigError
from realtime.sort import check_sort
from realtime.sort.rehearsed_strips import crowded
from realtime.sort.told_flow import check_told_channel, flow_findings
from realtime.sorting import Sorting
from tests.flow_rig import DiscFlow, flow_config

GENTLE: dict[str, Any] = {"imaging": {"interval_ms": 1.0}, "microscope": {"speed_um_s": 25_000.0}}
LINE = re.compile(r"^(\w.*?) {2,}([\d.]+) (\S+) +needs at (least|most) +(-?[\d.]+) +(\w.*)$", re.M)
EASY = {"sort.flow.speed_um_s": 25_000.0, "sort.events_per_s": 100.0, "sort.pulse.lead_ms": 40.0}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "CAMERA_S", 0.2)
    monkeypatch.setattr(check, "DISK_BYTES", 2e6)
    monkeypatch.setattr(check_sort, "N_STACKS", 12)
    monkeypatch.setattr(check_sort, "MOST_STRIPS", 400)
    monkeypatch.setattr(check_sort, "N_EDGES", 40)


class Check:
    """The command on the channel of discs: verdict by what was measured, and all that it said."""

    def __init__(self, reflexscope: Command, folder: Path, sections: dict[str, Any], sets: dict[str, Any]) -> None:  # noqa: F811
        config = flow_config(
            folder, **sections, **({} if "rig" in sections else {"rig": {"sessions": str(folder / "s")}})
        )
        words = [word for key, value in (EASY | sets).items() for word in ("--set", f"{key}={value}")]
        answer = reflexscope("check", config, *words)
        self.status, self.out = answer.status, answer.out
        self.verdicts = {row[0]: row[5] for row in LINE.findall(answer.out)}

    def failed(self) -> set[str]:
        return {what for what, verdict in self.verdicts.items() if verdict != "keeps up"}


def test_a_gentle_sort_keeps_up(reflexscope: Command, tmp_path: Path) -> None:  # noqa: F811
    done = Check(reflexscope, tmp_path, GENTLE, {})
    assert list(done.verdicts) == [
        "camera", "ring, a frame", "bus, a message", "sort, as filmed", "sort, 100/s", "told apart", "cell to order",
        "waiting cells", "gate's edge (p99)", "edge to window", "evidence",
    ]  # fmt: skip
    assert done.failed() <= {"gate's edge (p99)", "edge to window", "waiting cells"}, (
        "a busy computer may not keep these"
    )
    assert "the camera hands out 16 strips at a time: one stack every 16 ms" in done.out
    assert "this computer keeps the time of pulses" in done.out
    assert done.status == (cli.FAILED if done.failed() else 0)


WRONG: dict[str, tuple[dict[str, float], str, str]] = {
    "cells overlap": ({"sort.events_per_s": 20_000.0}, "told apart", "dilute the sample"),
    "the junction is near": ({"sort.flow.junction_um": 300.0}, "cell to order", "move the junction further down"),
    "cells are decided on late": ({"sort.pulse.lead_ms": 1.0}, "waiting cells", "raise sort.pulse.lead_ms"),
    "the window is tiny": (
        {"sort.pulse.window_ms": 1e-6, "sort.pulse.least_ms": 1e-6}, "edge to window", "use a sorter that keeps time itself"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_would_go_wrong_is_found(name: str, reflexscope: Command, tmp_path: Path) -> None:  # noqa: F811
    sets, what, advice = WRONG[name]
    done = Check(reflexscope, tmp_path, GENTLE, sets)
    assert done.status == cli.FAILED
    assert what in done.failed()
    assert advice in done.out


SHIPPED = Path(__file__).parents[1] / "hardware_configs" / "sorter_simulated.toml"
CONTRADICTIONS = {
    "another junction": ("sort.flow.junction_um=2500", "the junction is at 3000 µm ([microscope.flow])"),
    "another delay": ("microscope.sorter.delay_ms=0.2", "the sorter's delay is 0.2 ms"),
    "another direction": ('sort.flow.direction="left"', "no cell would be followed"),
    "another speed": ("microscope.flow.speed_um_s=90000", "cells go 90000 µm/s"),
    "the same": ("sort.flow.junction_um=3000", ""),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_flow_cell_that_flows_otherwise_is_told(name: str) -> None:
    override, words = CONTRADICTIONS[name]
    failed = [finding.words() for finding in flow_findings(load_config(SHIPPED, [override])) if not finding.ok]
    assert len(failed) == bool(words)
    assert all(words in line for line in failed)


def test_a_window_that_is_too_long_is_refused_before_the_rig_opens() -> None:
    check_told_channel(load_config(SHIPPED))
    with pytest.raises(ConfigError, match="Shorten the window"):
        check_told_channel(load_config(SHIPPED, ["sort.pulse.window_ms=0.9"]))


REMARKS: dict[str, tuple[dict[str, Any], str, int]] = {
    "the wrong polarity": (
        {"sort.finder.polarity": '"bright"', "microscope.cells_per_s": 100.0},
        'with sort.finder.polarity = "dark" instead',
        cli.FAILED,
    ),
    "an empty channel": ({"microscope.cells_per_s": 0.01}, "if the sample flows, see to light and focus", 0),
    "too many cells": ({"sort.events_per_s": 20.0}, "give it what really passes", 0),
    "too much evidence": ({"sort.gate.false_triggers": 1e-14}, "no cell can be sorted", cli.FAILED),
}


@pytest.mark.parametrize("name", REMARKS)
def test_cells_that_are_not_seen_or_never_sure_are_told(name: str, reflexscope: Command, tmp_path: Path) -> None:  # noqa: F811
    sets, words, status = REMARKS[name]
    done = Check(reflexscope, tmp_path, GENTLE, sets)
    assert words in done.out
    if status:
        assert done.status == status


@pytest.mark.parametrize("more_is_better", [True, False])
@pytest.mark.parametrize("usable", [0.8, 1.0, 1.1])
def test_the_limit_that_is_shown_is_the_one_that_decides(more_is_better: bool, usable: float) -> None:
    def found(measured: float) -> check.Finding:
        return check.Finding("x", measured, 100.0, "ms", more_is_better, "", usable=usable)

    limit = found(0.0).limit
    assert found(limit).ok
    assert not found(limit * (0.99 if more_is_better else 1.01)).ok
    assert f"{limit:.2f}" in found(limit).words()


def test_a_computer_that_is_too_slow_is_found(reflexscope: Command, tmp_path: Path) -> None:  # noqa: F811
    """Strips that come 200,000 times a second: neither this camera nor the sort can do that."""
    sections = GENTLE | {
        "imaging": {"interval_ms": 0.005, "exposure_ms": 0.001},
        "limits": {"interval_ms": [0.001, 10.0]},
    }
    done = Check(reflexscope, tmp_path, sections, {})
    assert done.status == cli.FAILED
    assert {"sort, as filmed", "sort, 100/s"} <= done.failed()
    assert "stacks pile up and the run ends when the ring is full" in done.out


def test_the_disk_is_measured_only_if_it_gets_the_images(reflexscope: Command, tmp_path: Path) -> None:  # noqa: F811
    done = Check(reflexscope, tmp_path, GENTLE | {"recorder": {"images": "all"}}, {})
    assert "disk" in done.verdicts


@pytest.mark.parametrize("direction", ["right", "left"])
@pytest.mark.parametrize("polarity", ["dark", "bright"])
def test_the_crowd_has_as_many_cells_as_asked_for(direction: str, polarity: str, tmp_path: Path) -> None:
    sets = {"sort.events_per_s": 300.0, "sort.flow.direction": direction, "sort.finder.polarity": polarity}
    config = load_config(
        flow_config(tmp_path, **GENTLE),
        [f"{key}={value}" for key, value in ({"sort.flow.speed_um_s": 25_000.0} | sets).items()],
    )
    assert config.sort is not None
    clock = SimulatedClock()
    channel = DiscFlow(cells_per_s=0.001, speed_um_s=25_000.0)
    channel.open(clock, Imaging(interval_ms=1.0, exposure_ms=0.01))
    channel.start()
    clock.sleep_s(0.1)
    template = channel.poll_frame()
    assert template is not None
    sorting = Sorting.from_config(config, clock)
    events = []
    for frame in crowded([template], config.sort, 1.0, n_stacks=25):
        analysis = sorting.look(frame)
        assert analysis is not None
        events += analysis.events.event_id.tolist()
    expected = 300.0 * 25 * 16 / 1000
    assert len(events) == pytest.approx(expected, rel=0.25)
    assert len(np.unique(events)) == len(events)
