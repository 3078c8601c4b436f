"""The camera of the simulated flow cell: strips by a strobe, stacks of them into a buffer, drawn ahead of their time."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from acquisition.clock import NS_PER_MS, NS_PER_S, Clock
from acquisition.frame import Affine, FrameHeader, StagePosition, affine_at
from acquisition.microscope import Imaging
from acquisition.simulated.flow_rendering import Stack
from acquisition.simulated.flow_settings import FlowCellSettings

LOOK_AGAIN_S = 0.0002
"""How soon to ask again for a stack that is still being drawn."""
AHEAD = 4
"""On a real clock: stacks that are drawn before they begin."""
Draw = Callable[[Sequence[int], Imaging], Stack]


@dataclass(frozen=True)
class _Plan:
    """A stack: its first exposure begins at `begins_ns`."""

    begins_ns: int
    n_strips: int
    imaging: Imaging
    stack: Future[Stack] | None = None

    @property
    def _interval_ns(self) -> int:
        return round(self.imaging.interval_ms * NS_PER_MS)

    @property
    def _exposure_ns(self) -> int:
        return round(self.imaging.exposure_ms * NS_PER_MS)

    @property
    def next_ns(self) -> int:
        """When the stack after it begins."""
        return self.begins_ns + self.n_strips * self._interval_ns

    @property
    def strip_t_ns(self) -> tuple[int, ...]:
        """End of exposure of each strip."""
        first_ns = self.begins_ns + self._exposure_ns
        return tuple(range(first_ns, first_ns + self.n_strips * self._interval_ns, self._interval_ns))

    @property
    def ready_ns(self) -> int:
        return self.begins_ns + (self.n_strips - 1) * self._interval_ns + self._exposure_ns

    def energy_mj(self, until_ns: int) -> float:
        """Light of its strips until then: the strobe flashes with each exposure."""
        over, rest_ns = divmod(max(0, until_ns - self.begins_ns), self._interval_ns)
        whole = min(over, self.n_strips)
        lit_ns = whole * self._exposure_ns + (min(rest_ns, self._exposure_ns) if over < self.n_strips else 0)
        return self.imaging.light_mw * lit_ns / NS_PER_S


class StackCamera:
    """Exposes strip after strip at its pace. A change of settings holds from the next stack on.

    On a real clock a worker thread draws ahead, which it may since no command changes the flow; what was drawn for settings
    that have changed is drawn again. On a simulated clock `poll` draws in the caller's thread.
    """

    def __init__(self, clock: Clock, settings: FlowCellSettings, channel: str, draw: Draw) -> None:
        self.n_lost = 0
        self.running = False
        self._clock, self._settings, self._channel, self._draw = clock, settings, channel, draw
        self._imaging = Imaging()
        self._shots: deque[tuple[int, _Plan]] = deque()
        """Stacks that have begun and that nobody has read, with their index."""
        self._ahead: deque[_Plan] = deque()
        self._under_way: _Plan | None = None
        self._spent_mj = 0.0  # of the stacks before that one
        self._next_index = self._next_ns = 0
        self._worker = None if clock.simulated else ThreadPoolExecutor(1, "flow-cell")

    def set(self, imaging: Imaging) -> None:
        """From the next stack on."""
        self.catch_up()
        self._imaging = imaging
        self._plan_ahead()

    def start(self) -> None:
        """Begin a stack now."""
        if not self.running:
            self.running, self._next_ns = True, self._clock.now_ns()
            self.catch_up()

    def stop(self) -> None:
        """Break off the strip that is exposed, and drop the stacks that nobody has read."""
        self._spent_mj = self.dose_mj()
        self.running, self._under_way = False, None
        self._next_index -= len(self._shots)  # theirs go to the stacks that are read next
        for plan in [plan for _, plan in self._shots] + list(self._ahead):
            if plan.stack is not None:
                plan.stack.cancel()
        self._shots.clear()
        self._ahead.clear()

    def dose_mj(self) -> float:
        """All light until now."""
        now_ns = self.catch_up()
        return self._spent_mj + (self._under_way.energy_mj(now_ns) if self._under_way else 0.0)

    def ready_in_s(self) -> float:
        """Time until the next stack is there; a guess where nothing is coming."""
        now_ns = self.catch_up()
        if not self.running:
            return self._imaging.interval_ms / 1000
        plan = self._shots[0][1] if self._shots else self._planned()
        late = plan.ready_ns <= now_ns and plan.stack is not None and not plan.stack.done()
        return LOOK_AGAIN_S if late else max(0, plan.ready_ns - now_ns) / NS_PER_S

    def poll(self) -> tuple[FrameHeader, Stack] | None:
        """The oldest stack whose last strip is exposed and that is drawn."""
        now_ns = self.catch_up()
        if not self._shots or self._shots[0][1].ready_ns > now_ns:
            return None
        index, plan = self._shots[0]
        if plan.stack is not None and not plan.stack.done():
            return None
        self._shots.popleft()
        stack = plan.stack.result() if plan.stack is not None else self._draw(plan.strip_t_ns, plan.imaging)
        return self._header(index, plan), stack

    def close(self) -> None:
        """Stop, and wait for the worker to end."""
        self.stop()
        if self._worker is not None:
            self._worker.shutdown(cancel_futures=True)

    def catch_up(self) -> int:
        """Begin all stacks whose time has come; returns now."""
        now_ns = self._clock.now_ns()
        if not self.running or self._next_ns > now_ns:
            return now_ns
        while self._next_ns <= now_ns:
            self._begin()
        self._plan_ahead()
        return now_ns

    def _begin(self) -> None:
        if self._under_way is not None:
            self._spent_mj += self._under_way.energy_mj(self._next_ns)
        plan = self._planned()
        if self._ahead and self._ahead[0].begins_ns == self._next_ns:
            plan = self._ahead.popleft()
        if len(self._shots) < self._settings.camera.buffer_stacks:
            self._shots.append((self._next_index, self._submitted(plan)))
        else:
            self.n_lost += 1
        self._under_way = plan
        self._next_index += 1
        self._next_ns = plan.next_ns

    def _planned(self) -> _Plan:
        """The stack that begins next, if nothing is changed before."""
        return _Plan(self._next_ns, self._settings.strips, self._imaging)

    def _plan_ahead(self) -> None:
        """Have the stacks that come next drawn; what was drawn ahead for other times or settings is thrown away."""
        if self._worker is None or not self.running:
            return
        wanted = self._planned()
        if self._ahead and (self._ahead[0].begins_ns, self._ahead[0].imaging) != (wanted.begins_ns, wanted.imaging):
            for plan in self._ahead:
                if plan.stack is not None:
                    plan.stack.cancel()
            self._ahead.clear()
        while len(self._ahead) < AHEAD:
            begins_ns = self._ahead[-1].next_ns if self._ahead else wanted.begins_ns
            self._ahead.append(self._submitted(_Plan(begins_ns, self._settings.strips, self._imaging)))

    def _submitted(self, plan: _Plan) -> _Plan:
        if self._worker is None or plan.stack is not None:
            return plan
        drawn = self._worker.submit(self._draw, plan.strip_t_ns, plan.imaging)
        return _Plan(plan.begins_ns, plan.n_strips, plan.imaging, drawn)

    def _header(self, index: int, plan: _Plan) -> FrameHeader:
        settings, imaging = self._settings, plan.imaging
        strip_t_ns, height_px = plan.strip_t_ns, settings.height_px * plan.n_strips
        return FrameHeader(
            index=index, t_ns=strip_t_ns[-1], t_read_ns=self._clock.now_ns(), height_px=height_px,
            width_px=settings.width_px, dtype="uint8", channel=self._channel, exposure_ms=imaging.exposure_ms,
            interval_ms=imaging.interval_ms, light_mw=imaging.light_mw, stage=StagePosition(),
            stage_from_pixel=_affine(settings, height_px), um_per_px=settings.um_per_px, strip_t_ns=strip_t_ns,
        )  # fmt: skip


def _affine(settings: FlowCellSettings, height_px: int) -> Affine:
    scale = settings.um_per_px
    return affine_at(StagePosition(), (scale, 0.0, 0.0, scale), (height_px, settings.width_px))
