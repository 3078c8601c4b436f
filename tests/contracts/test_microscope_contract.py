"""What every microscope promises (acquisition/microscope.py), as code. A new one is one more line in RIGS.

What a microscope cannot do by its own capabilities is skipped; nothing is skipped by name.
"""

import importlib.util
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tifffile

from acquisition.clock import Clock, SimulatedClock, SystemClock
from acquisition.commands import (
    COMMAND_NAMES,
    AcquireBurst,
    Command,
    MoveStage,
    Pause,
    PulseSorter,
    Resume,
    SafeState,
    SetChannel,
    SetExposure,
    SetInterval,
    SetLight,
    SetRoi,
    Stop,
)
from acquisition.faults import Faults
from acquisition.faulty_microscope import FaultyMicroscope
from acquisition.frame import Frame, FrameHeader, stage_um
from acquisition.microscope import Capabilities, Imaging, Microscope, MicroscopeError
from acquisition.simulated.microscope import SimulatedMicroscope
from tests.polling import next_frame, next_frames, wait_until

HARDWARE_CONFIGS = Path(__file__).parents[2] / "hardware_configs"
IMAGING = Imaging(interval_ms=30.0, exposure_ms=5.0, light_mw=1.0)
ONE_OF_EACH: tuple[Command, ...] = (
    MoveStage(x_um=1.0), SetInterval(40.0), SetExposure(4.0), SetLight(0.5), SetChannel("none such"),
    SetRoi(0, 0, 8, 8), AcquireBurst(3, 20.0), PulseSorter(0), Pause(), Resume(), Stop(), SafeState(),
)  # fmt: skip


def simulated(_: Path) -> Microscope:
    return SimulatedMicroscope(height_px=96, width_px=128, n_cells=8, specimen_um=(300.0, 300.0))


def wrapped(folder: Path) -> Microscope:
    """As a run with faults has it, but without any."""
    return FaultyMicroscope(simulated(folder), Faults())


def flow_cell(_: Path) -> Microscope:
    """Stacks of two strips, so that waiting for them is no longer than for others' frames."""
    return built_in("acquisition.simulated.flow_cell", "FlowCell")(strips=2, appearance="drawn")


def micromanager(**settings: object) -> Callable[[Path], Microscope]:
    """MMCore with its demonstration devices."""

    def make(_: Path) -> Microscope:
        pytest.importorskip("mm_test_adapters", reason="needs the device adapters of the extra `demo`")
        devices = {"shutter": "Shutter", "light": "Light.Voltage", "trigger": "Trigger"}
        return built_in("acquisition.micromanager.microscope", "MicroManagerMicroscope")(
            config_file=str(HARDWARE_CONFIGS / "micromanager_demo.cfg"), **devices, **settings
        )

    return make


def replayed(**settings: object) -> Callable[[Path], Microscope]:
    """A recorded movie, 40 frames written on the spot."""

    def make(folder: Path) -> Microscope:
        movie = np.random.default_rng(0).integers(0, 4000, (40, 96, 128), dtype=np.uint16)
        tifffile.imwrite(folder / "movie.tif", movie, photometric="minisblack")
        return built_in("acquisition.replayed.microscope", "ReplayedMicroscope")(
            path=str(folder / "movie.tif"), um_per_px=0.5, own_interval_ms=30.0, **settings
        )

    return make


def built_in(module: str, name: str) -> Callable[..., Microscope]:
    """A microscope's class; loaded late, since it brings its libraries along."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} does not exist yet")
    return getattr(importlib.import_module(module), name)


RIGS: dict[str, tuple[Callable[[Path], Microscope], Callable[[], Clock]]] = {
    "simulated": (simulated, SimulatedClock),
    "simulated in real time": (simulated, SystemClock),
    "simulated, wrapped for faults": (wrapped, SimulatedClock),
    "flow cell": (flow_cell, SimulatedClock),
    "flow cell in real time": (flow_cell, SystemClock),
    "replayed": (replayed(pace="own"), SimulatedClock),
    "replayed, panned": (replayed(pace="fixed", window_px=(48, 64)), SimulatedClock),
    "replayed in real time": (replayed(pace="fixed"), SystemClock),
    "Micro-Manager, streaming": (micromanager(mode="stream"), SystemClock),
    "Micro-Manager, snapping": (micromanager(mode="snap"), SystemClock),
}


@dataclass
class Rig:
    """A microscope under test with its clock; open unless a test says otherwise."""

    microscope: Microscope
    clock: Clock
    capabilities: Capabilities

    def needs(self, command: type) -> None:
        if command.__name__ not in self.capabilities.commands:
            pytest.skip(f"{self.capabilities.name} cannot {command.__name__}")

    def frame(self) -> Frame:
        return next_frame(self.microscope, self.clock)

    def frames(self, n: int) -> list[Frame]:
        return next_frames(self.microscope, self.clock, n)

    def frame_with(self, wanted: Callable[[FrameHeader], bool], within: int = 12) -> Frame:
        """The first frame that shows a change; those that were under way come before it."""
        frames = []
        for _ in range(within):
            frames.append(self.frame())
            if wanted(frames[-1].header):
                return frames[-1]
        pytest.fail(f"none of {within} frames shows the change; the last one: {frames[-1].header}")


@pytest.fixture(params=RIGS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Microscope, Clock]]:
    make, clock = RIGS[request.param]
    microscope = make(tmp_path)
    yield microscope, clock()
    microscope.close()


@pytest.fixture
def rig(made: tuple[Microscope, Clock]) -> Rig:
    microscope, clock = made
    return Rig(microscope, clock, microscope.open(clock, IMAGING))


def test_open_tells_what_it_can_do_and_leaves_the_light_off(rig: Rig) -> None:
    can, state = rig.capabilities, rig.microscope.state()
    assert can.name
    assert can.height_px > 0
    assert can.width_px > 0
    assert can.um_per_px > 0
    assert can.commands <= COMMAND_NAMES
    assert not state.shutter_open
    assert not state.gate_open
    assert rig.microscope.lost_frames() == 0
    assert not rig.microscope.exhausted()
    assert not rig.microscope.busy()


def test_no_frame_before_start(rig: Rig) -> None:
    assert rig.microscope.poll_frame() is None
    rig.clock.sleep_s(0.05)
    assert rig.microscope.poll_frame() is None


def test_a_setting_that_does_not_exist_is_refused(made: tuple[Microscope, Clock]) -> None:
    with pytest.raises(TypeError, match="no_such_setting"):
        type(made[0])(no_such_setting=1)


def test_frames_come_in_order_with_true_headers(rig: Rig) -> None:
    rig.microscope.start()
    headers = []
    for _ in range(6):
        frame = rig.frame()
        assert frame.header.t_ns <= frame.header.t_read_ns <= rig.clock.now_ns()
        assert frame.pixels.dtype == frame.header.dtype == rig.capabilities.dtype
        assert frame.pixels.shape == (rig.capabilities.height_px, rig.capabilities.width_px)
        assert not frame.pixels.flags.writeable
        assert not rig.capabilities.channels or frame.header.channel in rig.capabilities.channels
        headers.append(frame.header)
    assert all(b.index > a.index and b.t_ns > a.t_ns for a, b in pairwise(headers))
    assert headers[0].index == 0
    assert headers[-1].index == 5 + rig.microscope.lost_frames()


def test_every_exposure_is_counted_as_dose(rig: Rig) -> None:
    assert rig.microscope.dose_mj() == 0
    rig.microscope.start()
    exposed_mj = 0.0
    for _ in range(5):
        header = rig.frame().header
        exposed_mj += header.light_mw * header.exposure_ms / 1000
        assert rig.microscope.dose_mj() >= exposed_mj * (1 - 1e-9)
    assert exposed_mj > 0
    rig.microscope.stop()
    spent_mj = rig.microscope.dose_mj()
    rig.clock.sleep_s(0.05)
    assert rig.microscope.dose_mj() == spent_mj, "in the dark nothing is added"


def test_each_image_is_counted_at_its_own_light(rig: Rig) -> None:
    rig.needs(SetLight)
    rig.microscope.start()
    rig.frames(3)
    before_mj = rig.microscope.dose_mj()
    rig.microscope.apply(SetLight(0.0))
    first_dark = rig.frame_with(lambda header: header.light_mw == 0).header
    dark_mj = rig.microscope.dose_mj()
    rig.frames(3)
    assert rig.microscope.dose_mj() == dark_mj, "no light, no dose"
    assert dark_mj <= before_mj + IMAGING.light_mw * (IMAGING.interval_ms + first_dark.exposure_ms) / 1000


def test_frames_do_not_change_when_later_ones_arrive(rig: Rig) -> None:
    rig.microscope.start()
    first = rig.frame()
    kept = first.pixels.copy()
    later = rig.frames(3)
    np.testing.assert_array_equal(first.pixels, kept)
    assert all(not np.shares_memory(first.pixels, frame.pixels) for frame in later)


def test_the_interval_is_kept(rig: Rig) -> None:
    """On average: a real camera's frame may come late, but then the next one is no later."""
    rig.microscope.start()
    frames = rig.frames(8)
    apart_ms = (frames[-1].header.t_ns - frames[0].header.t_ns) / 1e6
    n_intervals = frames[-1].header.index - frames[0].header.index
    assert apart_ms >= n_intervals * frames[0].header.interval_ms * 0.9


def test_the_middle_of_the_view_is_where_the_stage_stands(rig: Rig) -> None:
    rig.microscope.start()
    header = rig.frame().header
    middle_px = np.array([[(header.width_px - 1) / 2, (header.height_px - 1) / 2]])
    np.testing.assert_allclose(
        stage_um(header.stage_from_pixel, middle_px)[0],
        [header.stage.x_um, header.stage.y_um],
        atol=header.um_per_px,
    )
    a, b, _, d, e, _ = header.stage_from_pixel
    assert math.sqrt(abs(a * e - b * d)) == pytest.approx(header.um_per_px, rel=0.01)
    assert header.um_per_px == pytest.approx(rig.capabilities.um_per_px)


def test_a_move_ends_where_it_was_sent_or_says_why_not(rig: Rig) -> None:
    rig.needs(MoveStage)
    rig.microscope.start()
    before = rig.frame().header.stage
    x_um, y_um = before.x_um + 6.0, before.y_um - 4.0
    rig.microscope.apply(MoveStage(x_um=x_um, y_um=y_um))
    wait_until(lambda: not rig.microscope.busy(), rig.clock, "the stage stands")
    frame = rig.frame_with(lambda header: header.stage != before)
    frame = rig.frame_with(lambda header: header.t_ns >= frame.header.t_ns)
    tolerance_um = max(0.1, rig.capabilities.um_per_px)
    for there in (rig.microscope.state().stage, frame.header.stage):
        assert (there.x_um, there.y_um) == pytest.approx((x_um, y_um), abs=tolerance_um)
        assert there.z_um == before.z_um


def test_a_move_can_be_halted_and_the_next_one_starts_from_there(rig: Rig) -> None:
    rig.needs(MoveStage)
    rig.microscope.halt()
    start = rig.microscope.state().stage
    rig.microscope.apply(MoveStage(x_um=start.x_um + 20.0))
    rig.microscope.halt()
    assert not rig.microscope.busy()
    halted = rig.microscope.state().stage
    rig.clock.sleep_s(0.02)
    assert rig.microscope.state().stage == halted, "it stands"
    assert not rig.microscope.busy()
    rig.microscope.apply(MoveStage(y_um=start.y_um + 3.0))
    wait_until(lambda: not rig.microscope.busy(), rig.clock, "the stage stands")
    there = rig.microscope.state().stage
    tolerance_um = max(0.1, rig.capabilities.um_per_px)
    assert (there.x_um, there.y_um) == pytest.approx((halted.x_um, start.y_um + 3.0), abs=tolerance_um)


@pytest.mark.parametrize(
    ("command", "field"),
    [(SetExposure(4.0), "exposure_ms"), (SetInterval(45.0), "interval_ms"), (SetLight(0.5), "light_mw")],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
def test_a_change_of_imaging_is_read_back_and_shows(rig: Rig, command: Command, field: str, running: bool) -> None:
    rig.needs(type(command))
    if running:
        rig.microscope.start()
        rig.frame()
    rig.microscope.apply(command)
    asked = getattr(command, field)
    assert getattr(rig.microscope.state(), field) == pytest.approx(asked, rel=0.02)
    rig.microscope.start()
    rig.frame_with(lambda header: getattr(header, field) == pytest.approx(asked, rel=0.02))


def test_channels_are_switched(rig: Rig) -> None:
    rig.needs(SetChannel)
    rig.microscope.start()
    for channel in rig.capabilities.channels[:2]:
        rig.microscope.apply(SetChannel(channel))
        assert rig.microscope.state().channel == channel
        rig.frame_with(lambda header, channel=channel: header.channel == channel)


def test_an_unknown_channel_is_refused_by_name(rig: Rig) -> None:
    rig.needs(SetChannel)
    before = rig.microscope.state().channel
    with pytest.raises(MicroscopeError, match="none such"):
        rig.microscope.apply(SetChannel("none such"))
    assert rig.microscope.state().channel == before


def test_a_part_of_the_sensor_lies_where_it_lay_in_the_whole(rig: Rig) -> None:
    rig.needs(SetRoi)
    rig.microscope.start()
    whole = rig.frame().header
    rig.microscope.apply(SetRoi(8, 4, 64, 32))
    part = rig.frame_with(lambda header: header.shape == (32, 64)).header
    np.testing.assert_allclose(
        stage_um(part.stage_from_pixel, np.array([[0.0, 0.0]])),
        stage_um(whole.stage_from_pixel, np.array([[8.0, 4.0]])),
        atol=0.01,
    )
    rig.microscope.apply(SetRoi(0, 0, 0, 0))
    rig.frame_with(lambda header: header.shape == whole.shape)


def test_a_part_outside_the_sensor_is_refused(rig: Rig) -> None:
    rig.needs(SetRoi)
    with pytest.raises(MicroscopeError):
        rig.microscope.apply(SetRoi(0, 0, rig.capabilities.width_px + 1, 8))


def test_frames_never_outgrow_what_was_announced(rig: Rig) -> None:
    """Room for frames is made once, from the capabilities."""
    rig.needs(SetRoi)
    with pytest.raises(MicroscopeError, match="SetRoi|no part"):
        rig.microscope.apply(SetRoi(0, 0, rig.capabilities.width_px * 2, rig.capabilities.height_px * 2))
    rig.microscope.start()
    assert rig.frame().header.shape == (rig.capabilities.height_px, rig.capabilities.width_px)


def test_the_gate_opens_and_shuts(rig: Rig) -> None:
    rig.needs(PulseSorter)
    for opened in (True, True, False, False, True):
        rig.microscope.set_gate(opened)
        assert rig.microscope.state().gate_open is opened


def test_commands_beyond_its_capabilities_are_refused(rig: Rig) -> None:
    assert {type(command).__name__ for command in ONE_OF_EACH} == COMMAND_NAMES
    for command in ONE_OF_EACH:
        name = type(command).__name__
        if name not in rig.capabilities.commands:
            with pytest.raises(MicroscopeError, match=name):
                rig.microscope.apply(command)


def test_start_and_stop_are_idempotent_and_the_index_goes_on(rig: Rig) -> None:
    rig.microscope.start()
    rig.microscope.start()
    last, lost = rig.frames(3)[-1].header, rig.microscope.lost_frames()
    rig.microscope.stop()
    rig.microscope.stop()
    assert not rig.microscope.state().shutter_open
    rig.clock.sleep_s(0.1)
    assert rig.microscope.poll_frame() is None, "a stopped camera delivers nothing"
    rig.microscope.start()
    following = rig.frame().header
    assert following.index == last.index + 1 + rig.microscope.lost_frames() - lost
    assert following.t_ns > last.t_ns


@pytest.mark.parametrize("end", ["stop", "make_safe"])
def test_frames_that_nobody_polled_are_dropped_by_a_stop_and_leave_no_gap(rig: Rig, end: str) -> None:
    rig.microscope.start()
    last = rig.frame().header
    for _ in range(3):
        lost = rig.microscope.lost_frames()
        rig.clock.sleep_s(0.08)  # frames pile up, or one is under way
        getattr(rig.microscope, end)()
        stopped_ns = rig.clock.now_ns()
        assert rig.microscope.poll_frame() is None
        rig.microscope.start()
        following = rig.frame().header
        assert following.index == last.index + 1 + rig.microscope.lost_frames() - lost
        assert following.t_ns > stopped_ns, "exposed after the stop"
        last = following


def test_waiting_times_are_never_negative(rig: Rig) -> None:
    assert rig.microscope.ready_in_s() >= 0
    rig.microscope.start()
    for _ in range(20):
        assert rig.microscope.ready_in_s() >= 0
        rig.microscope.poll_frame()
        rig.clock.sleep_s(0.004)


@pytest.mark.parametrize("condition", ["made", "open", "running", "moving", "gate open", "stopped", "closed"])
def test_it_can_be_made_safe_in_any_condition(made: tuple[Microscope, Clock], condition: str) -> None:
    microscope, clock = made
    if condition != "made":
        rig = Rig(microscope, clock, microscope.open(clock, IMAGING))
        bring_into(condition, rig)
    microscope.make_safe()
    if condition not in ("made", "closed"):
        state = microscope.state()
        assert not state.shutter_open
        assert not state.gate_open
        wait_until(lambda: not microscope.busy(), clock, "the stage stands")
        assert microscope.state().shutter_open is False


def bring_into(condition: str, rig: Rig) -> None:
    microscope = rig.microscope
    if condition in ("running", "moving", "gate open", "stopped"):
        microscope.start()
        rig.frame()
    if condition == "moving":
        rig.needs(MoveStage)
        microscope.apply(MoveStage(x_um=20.0))
    elif condition == "gate open":
        rig.needs(PulseSorter)
        microscope.set_gate(True)
    elif condition == "stopped":
        microscope.stop()
    elif condition == "closed":
        microscope.close()


def test_it_images_again_after_it_was_made_safe(rig: Rig) -> None:
    rig.microscope.start()
    last = rig.frame().header
    rig.microscope.make_safe()
    rig.microscope.start()
    assert rig.frame().header.index > last.index


def test_closing_twice_is_harmless_and_it_opens_again(rig: Rig) -> None:
    rig.microscope.start()
    rig.frame()
    rig.microscope.close()
    rig.microscope.close()
    rig.microscope.open(rig.clock, IMAGING)
    rig.microscope.start()
    assert rig.frame().header.index == 0
