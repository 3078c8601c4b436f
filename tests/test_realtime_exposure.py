"""exposure, before a camera whose cells bleach and whose noise is that of photons and read-out."""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquisition.commands import SetExposure, SetLight
from models.cells import Floats
from realtime.policies.exposure import Exposure
from tests.scenes import cells_at, header, scene

INTERVAL_MS = 500.0


@dataclass
class Dish:
    """Cells of some brightness on a background; commands act `latency` frames later unless `deaf`."""

    rates_e: Floats = field(default_factory=lambda: np.full(5, 50.0))  # electrons a pixel and ms at 1 mW
    background_e: float = 10.0
    read_noise_e: float = 2.0
    latency: int = 0
    bleach_mj: float = math.inf
    exposure_ms: float = 10.0
    light_mw: float = 1.0
    deaf: bool = False
    dose_mj: float = 0.0

    def watch(self, policy: Exposure, frames: int) -> list[float]:
        """The quantile of signal-to-noise in each frame."""
        waiting, seen = list[tuple[int, SetExposure | SetLight]](), []
        for k in range(frames):
            view = header(k, interval_ms=INTERVAL_MS, exposure_ms=self.exposure_ms, light_mw=self.light_mw)
            snr = self._snr()
            cells = cells_at(view, [(20.0 * n, 0.0) for n in range(len(snr))], features={"snr": snr})
            seen.append(float(np.nanquantile(snr, policy.quantile)))
            for decision in policy.decide(scene(view, cells)):
                assert isinstance(decision.command, SetExposure | SetLight)
                waiting.append((k + self.latency, decision.command))
            while waiting and waiting[0][0] <= k:
                self._obey(waiting.pop(0)[1])
            self.dose_mj += self.light_mw * self.exposure_ms / 1000
        return seen

    def _snr(self) -> Floats:
        light = self.exposure_ms * self.light_mw
        signal = self.rates_e * math.exp(-self.dose_mj / self.bleach_mj) * light
        return signal / np.sqrt(signal + self.background_e * light + self.read_noise_e**2)

    def _obey(self, command: SetExposure | SetLight) -> None:
        if self.deaf:
            return
        if isinstance(command, SetExposure):
            self.exposure_ms = command.exposure_ms
        else:
            self.light_mw = command.light_mw


def policy(**table: object) -> Exposure:
    return Exposure(**({"target": 10.0, "least": 0.01, "most": 400.0} | table))  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(
    rate_e=st.floats(0.3, 300), background_e=st.floats(0, 50), read_noise_e=st.floats(0, 20),
    latency=st.integers(0, 4), start_ms=st.floats(0.1, 300),
)  # fmt: skip
def test_it_reaches_the_target_and_then_rests(
    rate_e: float, background_e: float, read_noise_e: float, latency: int, start_ms: float
) -> None:
    dish = Dish(np.full(4, rate_e), background_e, read_noise_e, latency, exposure_ms=start_ms)
    held = dish.watch(policy(), 160)[-30:]
    out_of_reach = dish.exposure_ms > 395 or dish.exposure_ms < 0.0102
    assert out_of_reach or all(10.0 - 1e-9 <= snr <= 11.0 + 1e-9 for snr in held)
    assert len(set(held)) == 1, "nothing bleaches, so nothing may change any more"


@pytest.mark.parametrize("setting", ["exposure_ms", "light_mw"])
def test_it_holds_the_target_while_cells_bleach(setting: str) -> None:
    dish = Dish(bleach_mj=0.2)
    policy_ = policy(setting=setting)
    dish.watch(policy_, 10)
    at_first = getattr(dish, setting)
    seen = np.array(dish.watch(policy_, 35))
    assert np.all(np.abs(seen / 10.5 - 1) < 0.1)
    assert getattr(dish, setting) > 1.5 * at_first


def test_it_spends_less_light_than_an_exposure_that_lasts_until_the_end() -> None:
    adaptive, fixed = Dish(bleach_mj=1.0), Dish(bleach_mj=1.0)
    lasts = sum(snr >= 9.5 for snr in adaptive.watch(policy(), 400))
    fixed_lasts = sum(snr >= 9.5 for snr in fixed.watch(policy(least=10.0, most=10.0), 400))
    assert lasts > 2 * fixed_lasts


def test_the_quantile_says_which_cells_must_have_it() -> None:
    rates_e = np.array([10.0, 50.0, 60.0, 70.0, 200.0])
    dim, median = Dish(rates_e), Dish(rates_e)
    dim.watch(policy(quantile=0.0), 60)
    median.watch(policy(quantile=0.5), 60)
    assert dim.exposure_ms > 2 * median.exposure_ms


def test_what_is_not_known_does_not_count() -> None:
    dish = Dish(np.array([math.nan, 50.0, math.nan]))
    assert dish.watch(policy(), 40)[-1] == pytest.approx(10, rel=0.1)
    nothing = Dish(np.array([]))
    view = header(0, exposure_ms=10.0)
    assert not list(policy().decide(scene(view, cells_at(view, features={"snr": []}))))
    assert nothing.exposure_ms == 10.0


def test_one_change_is_no_larger_than_a_step_and_within_the_bounds() -> None:
    view = header(0, interval_ms=INTERVAL_MS, exposure_ms=10.0)
    cells = cells_at(view, [(0.0, 0.0)], features={"snr": [0.0]})
    (decision,) = policy(step=1.5).decide(scene(view, cells))
    assert decision.command == SetExposure(15.0)
    (decision,) = policy(step=4.0, most=20.0).decide(scene(view, cells))
    assert decision.command == SetExposure(20.0)


def test_a_refused_change_is_asked_for_again_after_a_while() -> None:
    policy_ = policy(repeat_ms=2000.0)
    asked = []
    for k in range(10):
        view = header(k, interval_ms=INTERVAL_MS, exposure_ms=10.0)
        cells = cells_at(view, [(0.0, 0.0)], features={"snr": [2.0]})
        asked += [k for _ in policy_.decide(scene(view, cells))]
    assert asked == [0, 4, 8]


def test_frames_of_another_channel_say_nothing() -> None:
    view = header(0, exposure_ms=10.0)
    cells = cells_at(view, [(0.0, 0.0)], features={"snr": [2.0]})
    assert not list(policy(channel="nuclei").decide(scene(view, cells)))
    assert list(policy(channel="phase").decide(scene(view, cells)))


def test_cells_at_the_edge_do_not_count() -> None:
    view = header(0, exposure_ms=10.0)
    cells = cells_at(view, [(126.0, 0.0)], features={"snr": [2.0]})
    assert not list(policy().decide(scene(view, cells)))
    assert list(policy(edge_um=0.0).decide(scene(view, cells)))
