"""The account of the light: what has fallen on the sample and where, what may yet fall, and whether the limits allow it.

The loop tells it all: the microscope's own count of millijoules, where the stage is or is sent, what the devices are set to.
"""

import math

from acquisition.clock import NS_PER_MS, NS_PER_S, Clock
from acquisition.commands import MoveStage
from acquisition.dose_map import Box, DoseMap, DoseSettings, LitField, around_both, point
from acquisition.frame import Affine, FrameHeader, StagePosition
from acquisition.limits import Limits, frame_mj
from acquisition.microscope import Capabilities, DeviceState

LATE_NS = 100 * NS_PER_MS
"""On a real clock the loop is trusted to look again this much later than it planned, and to have closed the shutter …"""
LATE_FACTOR = 2
"""… or, where that is longer, this many times later than it ever was in this run."""
LATEST_NS = NS_PER_S
"""A loop that is later still was held, or its clock jumped: that is no measure of what comes."""
EXACT = 1 + 1e-9
"""Sums of fractions are not exact."""
SAME_UM = 0.01


class LightBudget:
    """Light that fell while the stage was under way counts in full for every place between its ends.

    The run ends while what is left of a budget still covers one more frame, the exposure that is under way, and what the
    light gives until the loop looks again: the time it plans to wait and its lateness (LATE_NS, LATE_FACTOR).
    """

    def __init__(
        self, capabilities: Capabilities, limits: Limits, settings: DoseSettings, clock: Clock, device: DeviceState
    ) -> None:
        self._places = DoseMap(settings.square_um)
        self.total_mj = 0.0
        self._capabilities, self._limits, self._settings, self._clock = capabilities, limits, settings, clock
        um = capabilities.um_per_px
        self._see_through((um, 0.0, 0.0, 0.0, um, 0.0))
        self._device = device
        self._box, self._since_frame = point(device.stage), point(device.stage)
        self._travels = False
        self._known_ns = clock.now_ns()
        self._untold_mj = 0.0  # burned in the box, but not on the map yet
        self._most_j_cm2 = 0.0  # on the map, in what is lit now
        self._base_mj = 0.0  # when the exposure that is allowed for began, at the latest
        self._fades_ns, self._fades_mw = 0, 0.0  # an exposure at settings of before may still be under way
        self._look_by_ns: int | None = None
        self._latest_ns = 0

    # --- what has happened -------------------------------------------------------------------------------------------

    def burned(self, total_mj: float, device: DeviceState) -> None:
        """The microscope's count by now, under these settings of its devices."""
        new_mj = total_mj - self.total_mj
        if new_mj > 0:
            self.total_mj = total_mj
            self._untold_mj += new_mj
            self._since_frame = around_both(self._since_frame, self._box)
        if self._lit_as(device) != self._lit_as(self._device):
            self._fade()
        self._device = device

    def framed(self, header: FrameHeader) -> Box | None:
        """A frame was read: where the stage was while the light since the one before fell; None: only where it says."""
        if header.stage_from_pixel[:2] + header.stage_from_pixel[3:5] != self._camera:
            self._tell()
            self._see_through(header.stage_from_pixel)
        self._saw(header)
        self._base_mj = self.total_mj
        here = point(header.stage)
        box, self._since_frame = around_both(self._since_frame, here), self._box
        return None if _is_within(box, here) else box

    def stands(self, stage: StagePosition) -> None:
        """The stage was asked where it is, and no move is under way."""
        self._travels, self._known_ns = False, self._clock.now_ns()
        here = point(stage)
        if here != self._box:
            self._box = around_both(self._box, here)
            self._be_in(here)

    def goes(self, move: MoveStage) -> None:
        """The stage has been sent somewhere."""
        self._travels = True
        self._be_in(self._way(move))

    def looked(self, idle_s: float) -> None:
        """The loop has looked at everything, and means to do so again after so long."""
        now_ns = self._clock.now_ns()
        if self._look_by_ns is not None:
            self._latest_ns = max(self._latest_ns, min(now_ns - self._look_by_ns, LATEST_NS))
        self._look_by_ns = now_ns + round(idle_s * NS_PER_S)

    # --- what may happen yet -----------------------------------------------------------------------------------------

    def first_is_too_dear(self) -> str | None:
        """Why not even one frame can be taken before the run has begun; None if it can."""
        reserve_mj, limits = self.reserve_mj(), self._limits
        due_mj, what = self._next_mj() + reserve_mj, "one frame with its reserve" if reserve_mj else "one frame"
        less = "lower imaging.exposure_ms or imaging.light_mw, or raise the limit"
        if due_mj > limits.dose_mj * EXACT:
            return f"{what} costs {due_mj:.3g} mJ, more than limits.dose_mj {limits.dose_mj:g} allows; {less}"
        if due_mj > self.place_left_mj() * EXACT:
            each, allowed = self._field.j_cm2(due_mj), f"limits.place_j_cm2 {limits.place_j_cm2:g}"
            return f"{what} costs {each:.3g} J/cm², more than {allowed} allows; {less}"
        return None

    def spent(self, idle_s: float, runs: bool) -> str | None:
        """Why the run must end now, before a budget is exceeded; None if the next frame is within both.

        `runs`: there may be light in the `idle_s` until the loop looks again.
        """
        due_mj = max(0.0, self._next_mj() - (self.total_mj - self._base_mj))
        if runs:
            due_mj = max(due_mj, self._soon_mj(idle_s))
        due_mj += self.reserve_mj()
        if due_mj > self._limits.dose_mj * EXACT - self.total_mj:
            return f"the light budget is spent: {self.total_mj:.4g} of limits.dose_mj {self._limits.dose_mj:g} mJ"
        if due_mj > self.place_left_mj() * EXACT:
            most, allowed = self.most_here_j_cm2(), self._limits.place_j_cm2
            where = f"near x {self._box[0]:.0f}, y {self._box[1]:.0f} µm"
            return (
                f"the light budget of this place is spent: {most:.4g} of limits.place_j_cm2 {allowed:g} J/cm² {where}"
            )
        return None

    def reserve_mj(self) -> float:
        """What may still fall besides the next frame: the rest of an older exposure, and what a late loop lets pass."""
        device, now_ns = self._device, self._clock.now_ns()
        fading_mj = self._fades_mw * max(0, self._fades_ns - now_ns) / NS_PER_S
        trusted_ns = max(0 if self._clock.simulated else LATE_NS, LATE_FACTOR * self._latest_ns)
        glow_mj = device.light_mw * self._capabilities.off_delay_ms / 1000
        return fading_mj + glow_mj + self._soon_mj(trusted_ns / NS_PER_S)

    def map(self) -> DoseMap:
        """What every place has had by now."""
        self._tell()
        return self._places

    def most_here_j_cm2(self) -> float:
        """What the place in view has had that has had most."""
        return self._most_j_cm2 + self._field.j_cm2(self._untold_mj)

    def place_left_mj(self) -> float:
        """What may fall on the view before one of its places has had limits.place_j_cm2."""
        return self._as_mj(self._limits.place_j_cm2 - self.most_here_j_cm2())

    def way_left_mj(self, move: MoveStage) -> float:
        """The same for all places between here and where a move leads."""
        if math.isinf(self._limits.place_j_cm2):
            return math.inf
        self._tell()
        return self._as_mj(self._limits.place_j_cm2 - self._places.most_j_cm2(*self._field.around(self._way(move))))

    # --- within ------------------------------------------------------------------------------------------------------

    def _way(self, move: MoveStage) -> Box:
        low_x, low_y, high_x, high_y = self._box
        x_um = low_x if move.x_um is None else move.x_um
        y_um = low_y if move.y_um is None else move.y_um
        return around_both((low_x, low_y, high_x, high_y), (x_um, y_um, x_um, y_um))

    def _saw(self, header: FrameHeader) -> None:
        """A frame that shows another place than expected: somebody else has moved the stage, or it was exposed before."""
        here = point(header.stage)
        if _is_within(here, self._box):
            return
        expected = self._box
        self._box = self._since_frame = around_both(self._box, here)
        self._be_in(here if header.t_ns > self._known_ns and not self._travels else expected)

    def _be_in(self, box: Box) -> None:
        """From now on; what has burned so far belongs to the box of before."""
        self._tell()
        self._box = box
        self._most_j_cm2 = self._places.most_j_cm2(*self._field.around(box))

    def _tell(self) -> None:
        """Put what has burned in the box on the map."""
        if self._untold_mj > 0:
            self._places.add_lit(self._field, self._box, self._untold_mj)
            self._untold_mj = 0.0
            self._most_j_cm2 = self._places.most_j_cm2(*self._field.around(self._box))

    def _see_through(self, stage_from_pixel: Affine) -> None:
        self._camera = stage_from_pixel[:2] + stage_from_pixel[3:5]
        sensor_px = self._capabilities.height_px, self._capabilities.width_px
        self._field = LitField.of(self._settings, sensor_px, stage_from_pixel)

    def _fade(self) -> None:
        """The settings have changed: an exposure at those of before goes on until it ends."""
        before, now_ns = self._device, self._clock.now_ns()
        until_ns = now_ns + round((before.exposure_ms + self._capabilities.off_delay_ms) * NS_PER_MS)
        self._fades_mw = max(before.light_mw, self._fades_mw if self._fades_ns > now_ns else 0.0)
        self._fades_ns = max(until_ns, self._fades_ns)
        self._base_mj = self.total_mj

    def _next_mj(self) -> float:
        share, off_delay_ms = self._capabilities.lit_share, self._capabilities.off_delay_ms
        return frame_mj(*self._lit_as(self._device), share is not None, off_delay_ms)

    def _soon_mj(self, seconds: float) -> float:
        """The most that exposures at their pace can give in so long, wherever in their course it begins."""
        exposure_ms, interval_ms, light_mw = self._lit_as(self._device)
        soon_ms = seconds * 1000
        if self._capabilities.lit_share is None and interval_ms > 0:
            lit_ms = min(interval_ms, exposure_ms + self._capabilities.off_delay_ms)
            n, rest_ms = divmod(soon_ms, interval_ms)
            soon_ms = n * lit_ms + min(lit_ms, rest_ms)
        return light_mw * soon_ms / 1000

    def _as_mj(self, j_cm2: float) -> float:
        return j_cm2 / self._field.j_cm2(1.0)

    @staticmethod
    def _lit_as(device: DeviceState) -> tuple[float, float, float]:
        return device.exposure_ms, device.interval_ms, device.light_mw


def _is_within(box: Box, other: Box) -> bool:
    low_x, low_y, high_x, high_y = other
    return (
        box[0] >= low_x - SAME_UM and box[1] >= low_y - SAME_UM
        and box[2] <= high_x + SAME_UM and box[3] <= high_y + SAME_UM
    )  # fmt: skip
