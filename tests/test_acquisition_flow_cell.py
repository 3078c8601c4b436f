"""The simulated flow cell as a camera: stacks of strips, their times, what is drawn in them, and what is lost."""

import numpy as np
import pytest

from acquisition.clock import SimulatedClock, SystemClock
from acquisition.commands import SetExposure, SetInterval, SetLight
from acquisition.microscope import Imaging, MicroscopeError
from acquisition.simulated.flow_cell import FlowCell
from acquisition.simulated.flow_settings import SHARES
from acquisition.simulated.flow_sprites import FlowSprites
from tests.flowing import opened, stacks


def test_every_strip_has_its_own_time() -> None:
    cell, clock = opened()
    first, second = stacks(cell, clock, 2)
    assert first.strips().shape == (16, 64, 256)
    assert first.header.strip_t_ns == tuple(10_000 + 250_000 * k for k in range(16))
    assert second.header.strip_t_ns[0] - first.header.strip_t_ns[-1] == 250_000, "no gap between stacks"
    assert second.header.t_ns == second.header.strip_t_ns[-1]


@pytest.mark.parametrize("specimen", ["blood", "nuclei"])
def test_the_same_seed_gives_the_same_bytes_however_it_is_polled(specimen: str) -> None:
    cell, clock = opened(specimen=specimen, appearance="real", events_per_s=3000.0)
    one = stacks(cell, clock, 6)
    cell, clock = opened(specimen=specimen, appearance="real", events_per_s=3000.0)
    cell.start()
    clock.sleep_s(0.0241)  # all six wait in the camera's buffer
    cell.passed()
    other = [cell.poll_frame() for _ in range(6)]
    for a, b in zip(one, other, strict=True):
        assert b is not None
        assert a.header.strip_t_ns == b.header.strip_t_ns
        np.testing.assert_array_equal(a.pixels, b.pixels)
    assert np.ptp(one[-1].pixels) > 50, "there are cells in it"


def test_another_seed_is_another_sample() -> None:
    (one, clock), (other, other_clock) = opened(seed=0, events_per_s=3000.0), opened(seed=1, events_per_s=3000.0)
    assert not np.array_equal(stacks(one, clock, 2)[1].pixels, stacks(other, other_clock, 2)[1].pixels)


def test_a_reader_that_comes_too_late_loses_stacks_and_knows_how_many() -> None:
    cell, clock = opened(camera={"buffer_stacks": 3})
    cell.start()
    clock.sleep_s(0.0401)  # ten stacks and the beginning of another
    read = []
    while (frame := cell.poll_frame()) is not None:
        read.append(frame.header.index)
    assert read == [0, 1, 2]
    assert cell.lost_frames() == 8, "the buffer was full when these began"
    assert stacks(cell, clock, 1)[0].header.index == 11


def test_changes_hold_from_the_next_stack_on() -> None:
    cell, clock = opened()
    cell.start()
    clock.sleep_s(0.001)
    for command in (SetInterval(0.5), SetExposure(0.02), SetLight(50.0)):
        cell.apply(command)
    before, after = (frame.header for frame in stacks(cell, clock, 2))
    assert (before.interval_ms, before.exposure_ms, before.light_mw) == (0.25, 0.01, 100.0)
    assert (after.interval_ms, after.exposure_ms, after.light_mw) == (0.5, 0.02, 50.0)
    assert np.ptp(after.strip_t_ns) == 15 * 500_000


def test_only_flashes_are_counted_as_dose() -> None:
    cell, clock = opened()
    cell.start()
    clock.sleep_s(0.001)  # four strips are over, the fifth begins
    assert cell.dose_mj() == pytest.approx(4 * 100.0 * 0.01e-3)
    clock.sleep_s(0.000005)
    assert cell.dose_mj() == pytest.approx(4.5 * 100.0 * 0.01e-3)


@pytest.mark.parametrize(
    ("imaging", "words"),
    [
        (Imaging(interval_ms=0.25, exposure_ms=0.25), "must be shorter than the interval"),
        (Imaging(interval_ms=0.01, exposure_ms=0.001), "is shorter than its camera's"),
        (Imaging(interval_ms=0.25, exposure_ms=0.01, channel="red"), "no channel 'red'"),
    ],
    ids=["exposure", "interval", "channel"],
)
def test_what_the_camera_cannot_do_is_refused(imaging: Imaging, words: str) -> None:
    with pytest.raises(MicroscopeError, match=words):
        FlowCell().open(SimulatedClock(), imaging)


@pytest.mark.parametrize(
    ("shares", "words"), [({"wcb": 1.0}, "shares.wcb"), ({"wbc": 0.0}, "add up")], ids=["name", "sum"]
)
def test_shares_are_of_classes_that_there_are(shares: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FlowCell(shares=shares)


def test_on_a_real_clock_the_pace_is_kept() -> None:
    clock = SystemClock()
    cell, _ = opened(clock, camera={"buffer_stacks": 1000})
    try:
        real = stacks(cell, clock, 25)
        assert (np.diff([t for frame in real for t in frame.header.strip_t_ns]) == 250_000).all()
        assert all(frame.header.t_read_ns >= frame.header.t_ns for frame in real)
        assert len({frame.pixels.tobytes() for frame in real}) == 25
    finally:
        cell.close()


def test_on_a_real_clock_what_was_drawn_ahead_for_other_settings_is_not_shown() -> None:
    clock = SystemClock()
    cell, _ = opened(clock)
    try:
        stacks(cell, clock, 2)
        cell.apply(SetLight(20.0))
        later = stacks(cell, clock, 8)
        assert later[-1].header.light_mw == 20.0
        for frame in later:
            bright = np.median(frame.pixels) / frame.header.light_mw
            assert bright == pytest.approx(175 / 100, rel=0.02)
    finally:
        cell.close()


@pytest.mark.parametrize("appearance", ["real", "drawn"])
@pytest.mark.parametrize("specimen", ["blood", "nuclei"])
def test_there_are_pictures_of_every_class_centred_on_themselves(specimen: str, appearance: str) -> None:
    sprites = FlowSprites.of(FlowCell(specimen=specimen, appearance=appearance))
    assert set(sprites.of_kind) >= set(SHARES[specimen])
    middle = (sprites.pictures.shape[1] - 1) / 2
    for picture in sprites.pictures:
        assert 0.05 < picture.max() <= 1
        y_px, x_px = np.indices(picture.shape)
        centre = [(axis * picture).sum() / picture.sum() for axis in (x_px, y_px)]
        assert np.hypot(*(np.array(centre) - middle)) < 0.2


def test_cells_have_the_size_of_cells() -> None:
    """Areas at a quarter of the contrast, as equivalent diameters in µm, of the medians of their classes."""
    sprites = FlowSprites.of(FlowCell())
    diameter_um = {
        kind: np.median([2 * np.sqrt((p > p.max() / 4).sum() / np.pi) * 0.5 for p in sprites.pictures[rows]])
        for kind, rows in sprites.of_kind.items()
    }
    assert 9 < diameter_um["wbc"] < 16
    assert 5 < diameter_um["rbc"] < 9
    assert 1 < diameter_um["platelet"] < 4
    assert diameter_um["rbc"] < diameter_um["doublet"] < 2.2 * diameter_um["rbc"]


def test_the_camera_is_done_with_light_at_255() -> None:
    cell, clock = opened()
    cell.apply(SetLight(1000.0))
    assert np.median(stacks(cell, clock, 1)[0].pixels) == 255
