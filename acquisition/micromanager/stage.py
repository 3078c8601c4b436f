"""XY stage and focus drive through MMCore, and where they were when. For the core's thread only."""

from collections import deque
from functools import partial
from itertools import pairwise

from acquisition.commands import MoveStage
from acquisition.frame import StagePosition
from acquisition.micromanager.core_calls import CoreCalls
from acquisition.micromanager.devices import find_device, try_all
from acquisition.microscope import MicroscopeError


class Stage:
    """XY stage and focus drive, either of which may be missing, and where they were when."""

    def __init__(self, core: CoreCalls, xy: str, z: str, tolerance_um: float) -> None:
        self._core, self._tolerance_um = core, tolerance_um
        self._xy = find_device(core, xy, "xy_stage") if xy else core.text("getXYStageDevice")
        self._z = find_device(core, z, "z_stage") if z else core.text("getFocusDevice")
        self._target: MoveStage | None = None
        self._past: deque[tuple[int, StagePosition]] = deque(maxlen=1024)

    @property
    def exists(self) -> bool:
        return bool(self._xy or self._z)

    @property
    def moving(self) -> bool:
        """True from a move's start until `arrived`, `halt` or an error has ended it."""
        return self._target is not None

    def read(self, now_ns: int) -> StagePosition:
        """Where the stage is; remembered, so that `at` can tell where it was."""
        x = self._core.number("getXPosition", self._xy) if self._xy else 0.0
        y = self._core.number("getYPosition", self._xy) if self._xy else 0.0
        z = self._core.number("getPosition", self._z) if self._z else 0.0
        position = StagePosition(x, y, z)
        self._past.append((now_ns, position))
        return position

    def at(self, t_ns: int) -> StagePosition:
        """Where the stage was, on straight lines between readings."""
        return position_at(self._past, t_ns)

    def move(self, command: MoveStage, now_ns: int) -> None:
        """Set off; the drivers return before the stage has arrived.

        MicroscopeError if a drive is missing, and then none moves, or if one refuses, and then all are stopped.
        """
        moves_xy, moves_z = command.x_um is not None or command.y_um is not None, command.z_um is not None
        if moves_xy and not self._xy:
            raise MicroscopeError("MoveStage: this configuration has no XY stage, so x_um and y_um cannot be set")
        if moves_z and not self._z:
            raise MicroscopeError("MoveStage: this configuration has no focus drive, so z_um cannot be set")
        here = self.read(now_ns)
        self._target = command
        try:
            if moves_xy:
                x = here.x_um if command.x_um is None else command.x_um
                y = here.y_um if command.y_um is None else command.y_um
                self._core.do("setXYPosition", self._xy, float(x), float(y))
            if command.z_um is not None:
                self._core.do("setPosition", self._z, float(command.z_um))
        except MicroscopeError as refusal:
            self._halt_after(refusal)
            raise

    def busy(self) -> bool:
        """True while a move is under way and a drive says so."""
        return self._target is not None and any(map(self._drive_busy, self._drives))

    def arrived(self, now_ns: int) -> None:
        """The drives have stopped: MicroscopeError if that is not where they were sent."""
        target, self._target = self._target, None
        here = self.read(now_ns)
        if target is None:
            return
        for axis in ("x_um", "y_um", "z_um"):
            asked, reached = getattr(target, axis), getattr(here, axis)
            if asked is not None and abs(asked - reached) > self._tolerance_um:
                raise MicroscopeError(
                    f"the stage stopped at {axis} {reached:.3f} instead of {asked:.3f} (stage_tolerance_um "
                    f"{self._tolerance_um:g}); look for an obstacle, a limit switch or a wrong origin"
                )

    def halt(self) -> None:
        """Stop all drives, whatever they say of themselves; the move's end is then nobody's concern."""
        self._target = None
        try_all("the stage may still move", [(f"stop {label}", partial(self._stop, label)) for label in self._drives])

    @property
    def _drives(self) -> tuple[str, ...]:
        return tuple(label for label in (self._xy, self._z) if label)

    def _drive_busy(self, label: str) -> bool:
        return self._core.flag("deviceBusy", label)

    def _stop(self, label: str) -> None:
        """Many drives know no stop; one that says it stands need not obey."""
        try:
            self._core.do("stop", label)
        except MicroscopeError:
            if self._drive_busy(label):
                raise

    def _halt_after(self, refusal: MicroscopeError) -> None:
        """One drive refused: no other one may go on alone."""
        try:
            self.halt()
        except MicroscopeError as error:
            raise MicroscopeError(f"{refusal}; and {error}") from refusal


def position_at(past: deque[tuple[int, StagePosition]], t_ns: int) -> StagePosition:
    """The position at `t_ns` from one or more readings in order of time: linear between, constant outside."""
    if t_ns <= past[0][0]:
        return past[0][1]
    for (t1_ns, after), (t0_ns, before) in pairwise(reversed(past)):
        if t_ns >= t1_ns:
            return after
        if t_ns >= t0_ns:
            part = (t_ns - t0_ns) / (t1_ns - t0_ns)
            return StagePosition(
                before.x_um + part * (after.x_um - before.x_um),
                before.y_um + part * (after.y_um - before.y_um),
                before.z_um + part * (after.z_um - before.z_um),
            )
    return past[-1][1]
