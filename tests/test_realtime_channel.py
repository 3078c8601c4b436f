"""channel, before a microscope that obeys late and sometimes not at all."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquisition.commands import Command, SetChannel, SetExposure, SetLight
from realtime.policies.channel import PATIENCE_FRAMES, Channel
from realtime.policy import Scene
from tests.scenes import cells_at, header, scene, tracks_of
from tracking.tracks import Tracks

INTERVAL_MS = 500.0


@dataclass
class Rig:
    """Two channels; every command acts `latency` frames later, unless its number is in `deaf_to`."""

    latency: int = 0
    deaf_to: frozenset[int] = frozenset()
    steps_mw: float = 0.0
    """Light comes in whole ones of them; 0: as asked."""
    channel: str = "phase"
    exposure_ms: float = 10.0
    light_mw: float = 1.0
    frames: list[tuple[str, float, float]] = field(default_factory=list)
    n_asked: int = 0

    def watch(self, policy: Channel, looks: list[list[float]]) -> str:
        """`looks[k][n]`: how round track n + 1 is; channels of the frames, `p` or `r`, come back."""
        waiting, last = list[tuple[int, Command]](), None
        for k, row in enumerate(looks):
            self.frames.append((self.channel, self.exposure_ms, self.light_mw))
            seen = self._scene(k, row, last)
            last = seen.tracks if seen.segmented else last
            for decision in policy.decide(seen):
                self.n_asked += 1
                if self.n_asked - 1 not in self.deaf_to:
                    waiting.append((k + self.latency, decision.command))
            while waiting and waiting[0][0] <= k:
                self._obey(waiting.pop(0)[1])
        return "".join(channel[0] for channel, _, _ in self.frames)

    def _scene(self, k: int, row: list[float], last: Tracks | None) -> Scene:
        view = header(
            k, interval_ms=INTERVAL_MS, channel=self.channel, exposure_ms=self.exposure_ms, light_mw=self.light_mw
        )
        p = np.array(row)
        cells = cells_at(view, [(20.0 * n, 0.0) for n in range(len(row))], p_class={"round": p, "flat": 1 - p})
        seen = scene(view, cells, tracks_of(cells))
        return seen if self.channel == "phase" else Scene(view, cells, last or seen.tracks, segmented=False)

    def _obey(self, command: Command) -> None:
        match command:
            case SetChannel(channel):
                self.channel = channel
            case SetExposure(exposure_ms):
                self.exposure_ms = exposure_ms
            case SetLight(light_mw):
                self.light_mw = self.steps_mw * round(light_mw / self.steps_mw) if self.steps_mw else light_mw


def channel(**table: object) -> Channel:
    settings_ = {"class_name": "round", "looks": 2, "of": 2, "channel": "red", "base": "phase", "every_s": 5.0}
    return Channel(**(settings_ | table))  # type: ignore[arg-type]


def test_a_cell_that_needs_it_is_looked_at_now_and_then() -> None:
    assert Rig().watch(channel(), [[0.1], [0.9], *[[0.9]] * 24]) == "ppp" + "r" + "p" * 10 + "r" + "p" * 10 + "r"


def test_nobody_needs_it() -> None:
    assert Rig().watch(channel(), [[0.1]] * 10) == "p" * 10


def test_a_look_may_be_several_frames() -> None:
    assert Rig().watch(channel(frames=3), [[0.9]] * 9) == "pp" + "rrr" + "pppp"


def test_one_look_is_for_all_cells_in_view() -> None:
    assert Rig().watch(channel(), [[0.9, 0.9]] * 9) == "pp" + "r" + "p" * 6


def test_a_cell_that_comes_later_gets_its_own_look() -> None:
    looks = [[0.9]] * 5 + [[0.9, 0.9]] * 5
    assert Rig().watch(channel(every_s=60.0), looks) == "pp" + "r" + "pppp" + "r" + "pp"


def test_a_look_has_its_exposure_and_light_and_gives_them_back() -> None:
    rig = Rig()
    rig.watch(channel(exposure_ms=80.0, light_mw=3.0), [[0.9]] * 6)
    assert rig.frames[:5] == [*[("phase", 10.0, 1.0)] * 2, ("red", 80.0, 3.0), *[("phase", 10.0, 1.0)] * 2]


@settings(max_examples=60, deadline=None)
@given(
    latency=st.integers(0, 3),
    deaf_to=st.frozensets(st.integers(0, 30), max_size=12),
    frames=st.integers(1, 3),
    exposure_ms=st.sampled_from([None, 80.0]),
)
def test_it_never_sticks_in_the_dearer_channel(
    latency: int, deaf_to: frozenset[int], frames: int, exposure_ms: float | None
) -> None:
    rig = Rig(latency, deaf_to)
    policy = channel(frames=frames, exposure_ms=exposure_ms, repeat_ms=2000.0)
    seen = rig.watch(policy, [[0.9]] * 60 + [[0.1]] * 30)
    longest = max(map(len, seen.split("p")))
    assert longest <= frames + PATIENCE_FRAMES + latency + 1 + len(deaf_to)
    assert seen.endswith("p" * 8)
    assert rig.frames[-1] == ("phase", 10.0, 1.0)


def test_after_a_restart_in_the_dearer_channel_it_goes_back_at_once() -> None:
    rig = Rig(channel="red", exposure_ms=80.0)
    policy = channel(exposure_ms=80.0, base_exposure_ms=10.0)
    assert rig.watch(policy, [[0.1]] * 4) == "rppp"
    assert rig.frames[1] == ("phase", 10.0, 1.0)


def test_it_asks_again_if_the_way_back_is_lost() -> None:
    assert Rig(deaf_to=frozenset({1, 2, 3})).watch(channel(), [[0.9]] * 8) == "pp" + "rrrr" + "pp"


def test_it_asks_again_after_a_while_if_the_way_there_is_lost() -> None:
    assert Rig(deaf_to=frozenset({0})).watch(channel(repeat_ms=1500.0), [[0.9]] * 8) == "ppppp" + "r" + "pp"


def test_a_light_that_is_never_as_asked_costs_no_look_after_the_other() -> None:
    """A lamp of few steps: 3.3 mW are taken for 3.0."""
    rig = Rig(steps_mw=0.5)
    looks = rig.watch(channel(light_mw=3.3, every_s=10.0), [[0.9]] * 36)
    assert looks == "pp" + "r" * (PATIENCE_FRAMES + 1) + "p" * 20 + "r" * (PATIENCE_FRAMES + 1) + "pp"
    assert {light for name, _, light in rig.frames if name == "phase"} == {1.0}


def test_another_policys_exposure_is_left_alone() -> None:
    """What is put back is the look's own exposure, not what others chose since."""
    rig = Rig()
    policy = channel(exposure_ms=80.0)
    rig.watch(policy, [[0.9]] * 4)
    rig.exposure_ms = 14.0
    rig.watch(policy, [[0.9]] * 4)
    assert [exposure for name, exposure, _ in rig.frames[4:] if name == "phase"] == [14.0] * 4


def test_a_third_channel_is_somebody_elses() -> None:
    rig = Rig(channel="green")
    assert rig.watch(channel(), [[0.9]] * 5) == "ggggg"


@pytest.mark.parametrize("table", [{"class_name": ""}, {"base": "red"}])
def test_wrong_settings_are_refused(table: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="one condition decides|two channels"):
        channel(**table)
