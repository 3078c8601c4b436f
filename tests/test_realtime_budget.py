"""budget, before a camera that obeys late, beside a policy that spends in bursts."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquisition.commands import Command, SetExposure, SetInterval, SetLight, Stop
from realtime.policies.budget import Budget
from realtime.policy import Dose
from tests.scenes import header, scene


@dataclass
class Lamp:
    """Frames of 1 mW × 10 ms = 0.01 mJ, and what becomes of the commands `latency` frames later."""

    interval_ms: float = 500.0
    exposure_ms: float = 10.0
    light_mw: float = 1.0
    latency: int = 1
    limit_mj: float = float("inf")
    bursts_s: tuple[tuple[float, float], ...] = ()
    """From when to when another policy images every 50 ms."""
    dose_mj: float = 0.0
    t_s: float = 0.0
    stopped: bool = False
    asked: list[Command] = field(default_factory=list)
    intervals: list[tuple[float, float]] = field(default_factory=list)

    def watch(self, policy: Budget, until_s: float) -> None:
        waiting, k = list[tuple[int, Command]](), 0
        while self.t_s < until_s and not self.stopped:
            fast = any(begin <= self.t_s < end for begin, end in self.bursts_s)
            interval_ms = 50.0 if fast else self.interval_ms
            self.dose_mj += self.light_mw * self.exposure_ms / 1000
            view = header(
                k, t_ms=1000 * self.t_s, interval_ms=interval_ms, exposure_ms=self.exposure_ms, light_mw=self.light_mw
            )
            seen = scene(view)
            seen = type(seen)(seen.frame, seen.cells, seen.tracks, Dose(self.dose_mj, limit_mj=self.limit_mj))
            for decision in policy.decide(seen):
                self.asked.append(decision.command)
                waiting.append((k + self.latency, decision.command))
            while waiting and waiting[0][0] <= k:
                self._obey(waiting.pop(0)[1])
            self.intervals.append((self.t_s, interval_ms))
            self.t_s, k = self.t_s + interval_ms / 1000, k + 1

    def _obey(self, command: Command) -> None:
        match command:
            case SetInterval(interval_ms):
                self.interval_ms = interval_ms
            case SetExposure(exposure_ms):
                self.exposure_ms = exposure_ms
            case SetLight(light_mw):
                self.light_mw = light_mw
            case Stop():
                self.stopped = True


def budget(**table: object) -> Budget:
    return Budget(**({"duration_s": 600.0, "mj": 6.0, "least": 50.0, "most": 60_000.0} | table))  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None)
@given(
    mj=st.floats(1.0, 40.0), start_ms=st.floats(50, 5000), latency=st.integers(0, 2),
    setting=st.sampled_from(["interval_ms", "exposure_ms", "light_mw"]),
)  # fmt: skip
def test_the_light_is_spent_when_the_time_is_over_and_never_exceeded(
    mj: float, start_ms: float, latency: int, setting: str
) -> None:
    bounds = {"interval_ms": (20.0, 60_000.0), "exposure_ms": (0.01, 1e4), "light_mw": (0.001, 1e3)}[setting]
    lamp = Lamp(interval_ms=start_ms if setting == "interval_ms" else 1000.0, latency=latency)
    lamp.watch(budget(mj=mj, setting=setting, least=bounds[0], most=bounds[1], repeat_ms=500.0), 600.0)
    assert lamp.dose_mj <= mj * (1 + 1e-9)
    assert lamp.dose_mj >= 0.9 * mj
    assert lamp.t_s >= 590


def test_a_burst_is_left_alone_and_paid_back() -> None:
    lamp = Lamp(bursts_s=((100.0, 110.0),))
    lamp.watch(budget(burst_below_ms=100.0), 600.0)
    before = [interval for t, interval in lamp.intervals if 50 < t < 100]
    after = [interval for t, interval in lamp.intervals if 120 < t < 300]
    assert min(before) > 900
    assert max(before) < 1.06 * min(before)
    assert min(after) > 1.2 * max(before), "200 fast frames of 0.01 mJ are a third of the 6 mJ"
    assert 5.4 < lamp.dose_mj <= 6.0


def test_a_burst_that_slow_imaging_cannot_pay_for_is_slowed_down() -> None:
    lamp = Lamp(bursts_s=((100.0, 600.0),))
    lamp.watch(budget(burst_below_ms=100.0, most=1500.0), 600.0)
    assert SetInterval(1500.0) in lamp.asked
    assert lamp.stopped, "the other policy did not listen"
    assert lamp.dose_mj <= 6.0


def test_bursts_without_end_never_exceed_it() -> None:
    lamp = Lamp(bursts_s=((0.0, 600.0),), latency=2)
    lamp.watch(budget(burst_below_ms=100.0), 600.0)
    assert lamp.dose_mj <= 6.0
    assert lamp.asked[-1] == Stop()


def test_without_mj_it_is_the_limit_of_the_run() -> None:
    lamp = Lamp(limit_mj=3.0)
    lamp.watch(budget(mj=float("inf")), 600.0)
    assert 2.7 < lamp.dose_mj <= 3.0
    boundless = Lamp()
    boundless.watch(budget(mj=float("inf")), 10.0)
    assert boundless.asked == []


def test_bounds_go_before_the_budget() -> None:
    lamp = Lamp(interval_ms=500.0)
    lamp.watch(budget(mj=600.0, least=200.0), 60.0)
    assert lamp.interval_ms == 200.0


def test_a_refused_change_is_asked_for_again_after_a_while() -> None:
    policy, asked = budget(repeat_ms=2000.0), []
    for k in range(10):
        view = header(k, interval_ms=500.0)
        seen = scene(view)
        asked += [k for _ in policy.decide(type(seen)(seen.frame, seen.cells, seen.tracks, Dose(0.01 * k)))]
    assert asked == [0, 4, 8]


def test_dark_frames_call_for_nothing() -> None:
    assert not list(budget().decide(scene(header(0, light_mw=0.0))))


def test_bounds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="least 9 must not be above most 2"):
        budget(least=9.0, most=2.0)


def test_bursts_are_a_matter_of_the_interval() -> None:
    with pytest.raises(ValueError, match="burst_below_ms is for setting"):
        budget(setting="light_mw", burst_below_ms=100.0)
