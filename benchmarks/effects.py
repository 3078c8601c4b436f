"""How long from a frame to the first frame that shows what was decided on it? A real MMCore with its demonstration devices.

First each kind of command that a policy gives is asked for again and again, in one process and without perception. Then all
policies of micromanager_policies.toml decide for themselves, in real processes. Measured from the end of exposure of the frame
decided on to the end of exposure of the first that shows it.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from acquisition.clock import NS_PER_MS, SystemClock
from acquisition.commands import (
    AcquireBurst,
    Command,
    MoveStage,
    Order,
    SetChannel,
    SetExposure,
    SetInterval,
    SetLight,
    Status,
)
from acquisition.frame import Frame, FrameHeader
from acquisition.limits import Limits
from acquisition.loop import AcquisitionLoop
from acquisition.micromanager.microscope import MicroManagerMicroscope
from acquisition.microscope import Imaging
from benchmarks.tables import Report
from realtime.config import load_config
from realtime.decisions import Decision
from realtime.processes.supervisor import Supervisor
from realtime.session.reader import SessionReader
from realtime.wire import FrameReady, OutcomeReached

CONFIG = Path(__file__).parents[1] / "hardware_configs" / "micromanager_demo.cfg"
IMAGING = Imaging(interval_ms=50.0, exposure_ms=10.0, light_mw=1.0, channel="GFP")
LIMITS = Limits(x_um=(-500, 500), y_um=(-500, 500), exposure_ms=(1, 50), interval_ms=(5, 1000), light_mw=(0, 5))
WARM_UP_FRAMES = 10
REPEATS = 20
POLICIES = CONFIG.with_name("micromanager_policies.toml")
SECONDS = 60.0
QUIET_FRAMES = 2
"""After an effect, frames before the next question."""

Shows = Callable[[FrameHeader], bool]


@dataclass(frozen=True)
class Kind:
    """One kind of command: two of them in turn, and how a frame shows each."""

    policies: str
    there: tuple[Command, Shows]
    back: tuple[Command, Shows] | None = None
    """None: it is over by itself."""


def near(value: float, wanted: float) -> bool:
    return abs(value - wanted) < 0.1


KINDS: dict[str, Kind] = {
    "interval 50 ↔ 25 ms": Kind(
        "pace, budget",
        (SetInterval(25.0), lambda h: near(h.interval_ms, 25)),
        (SetInterval(50.0), lambda h: near(h.interval_ms, 50)),
    ),
    "exposure 10 ↔ 20 ms": Kind(
        "exposure, pace",
        (SetExposure(20.0), lambda h: near(h.exposure_ms, 20)),
        (SetExposure(10.0), lambda h: near(h.exposure_ms, 10)),
    ),
    "light 1 ↔ 2 mW": Kind(
        "exposure, budget",
        (SetLight(2.0), lambda h: near(h.light_mw, 2)),
        (SetLight(1.0), lambda h: near(h.light_mw, 1)),
    ),
    "move of 50 µm": Kind(
        "follow, revisit",
        (MoveStage(x_um=50.0), lambda h: near(h.stage.x_um, 50)),
        (MoveStage(x_um=0.0), lambda h: near(h.stage.x_um, 0)),
    ),
    "channel GFP ↔ RFP": Kind(
        "channel",
        (SetChannel("RFP"), lambda h: h.channel == "RFP"),
        (SetChannel("GFP"), lambda h: h.channel == "GFP"),
    ),
    "burst, 10 frames": Kind("burst", (AcquireBurst(10, 10.0), lambda h: near(h.interval_ms, 10))),
}


@dataclass
class Trial:
    """A loop on the rig that is asked for one kind of command after the other."""

    kind: Kind
    effects: list[tuple[int, float]] = field(default_factory=list)
    """Frames, and ms, from a decision to its effect."""
    obeyed_ms: list[float] = field(default_factory=list)
    """From the end of exposure of the decision's frame until the devices had obeyed."""
    orders: list[Order] = field(default_factory=list)
    asked: FrameHeader | None = None
    shows: Shows = lambda header: False
    quiet: int = WARM_UP_FRAMES

    def __post_init__(self) -> None:
        self.clock = SystemClock()
        self._steps = self._endless()

    def publish(self, frame: Frame, dose_mj: float) -> None:
        header = frame.header
        if self.asked is not None and self.shows(header):
            took_ms = (header.t_ns - self.asked.t_ns) / NS_PER_MS
            self.effects.append((header.index - self.asked.index, took_ms))
            self.asked, self.quiet = None, QUIET_FRAMES + (10 if self.kind.back is None else 0)
        elif self.asked is None and self.quiet == 0:
            command, self.shows = next(self._steps)
            self.asked = header
            self.orders.append(Order(id=f"{header.index}", command=command, source="benchmark"))
        elif self.asked is None:
            self.quiet -= 1

    def receive(self, timeout_s: float) -> list[Order]:
        if not self.orders:
            self.clock.sleep_s(timeout_s)
        orders, self.orders = self.orders, []
        return orders

    def answer(self, order: Order, status: Status, detail: str, checked_ns: int) -> None:
        assert status == "done" or "the run ended" in detail, f"{order.command}: {status}, {detail}"
        if self.asked is not None and not isinstance(order.command, AcquireBurst):
            self.obeyed_ms.append((self.clock.now_ns() - self.asked.t_ns) / NS_PER_MS)

    def _endless(self) -> Iterator[tuple[Command, Shows]]:
        while True:
            yield self.kind.there
            if self.kind.back is not None:
                yield self.kind.back


def measure(kind: Kind, mode: str, live_changes: bool) -> Trial:
    trial = Trial(kind)
    with tempfile.TemporaryDirectory() as folder:
        config = shutil.copy(CONFIG, folder)
        rig = MicroManagerMicroscope(
            config_file=str(config), mode=mode, live_changes=live_changes, light="Light.Voltage", shutter="Shutter"
        )  # type: ignore[arg-type]
        capabilities = rig.open(trial.clock, IMAGING)
        loop = AcquisitionLoop(
            rig, capabilities, LIMITS, IMAGING, trial.clock, trial.publish, trial.receive, trial.answer
        )
        try:
            loop.start()
            while len(trial.effects) < REPEATS and loop.end is None:
                loop.turn()
            loop.stop("measured")
            loop.finish()
        finally:
            rig.close()
    return trial


def row(name: str, mode: str, trial: Trial) -> tuple[str, ...]:
    frames, ms = np.array(trial.effects).T
    obeyed = f"{np.median(trial.obeyed_ms):.1f}" if trial.obeyed_ms else "at its end"
    spread = f"{np.quantile(frames, 0.5):.0f} ({frames.min():.0f}–{frames.max():.0f})"
    return name, trial.kind.policies, mode, spread, f"{np.median(ms):.1f}", f"{np.quantile(ms, 0.95):.1f}", obeyed


def policies_at_work(folder: Path) -> dict[str, list[tuple[int, float, float]]]:
    """Policy → frames, ms and the interval (ms) in force, for each frame on which it decided something that was done."""
    with Supervisor(load_config(POLICIES), folder, SECONDS) as supervisor:
        supervisor.start()
        result = supervisor.supervise()
    assert result.ok, result.reason
    records = list(SessionReader(folder).records())
    headers = [record.header for record in records if isinstance(record, FrameReady)]
    effects: dict[str, dict[int, tuple[int, float, float]]] = {}
    for record in records:
        if not isinstance(record, OutcomeReached) or record.decision is None or record.outcome.status != "done":
            continue
        decision, of_policy = record.decision, effects.setdefault(record.decision.policy, {})
        first = next((h for h in headers if h.index > decision.frame_index and shows(decision, h)), None)
        if first is not None:
            took_ms = (first.t_ns - record.exposed_ns) / NS_PER_MS
            asked_at = headers[decision.frame_index]
            of_policy[decision.frame_index] = first.index - asked_at.index, took_ms, asked_at.interval_ms
    return {policy: list(of_frame.values()) for policy, of_frame in effects.items()}


def shows(decision: Decision, header: FrameHeader) -> bool:
    """A frame names the last order that changed the imaging; what one policy asked for on one frame belongs together."""
    if isinstance(move := decision.command, MoveStage):
        goals = ((move.x_um, header.stage.x_um), (move.y_um, header.stage.y_um))
        return all(goal is None or near(goal, here) for goal, here in goals)
    return header.reason.startswith(f"{decision.frame_index}.{decision.policy}.")


def policy_row(name: str, effects: list[tuple[int, float, float]]) -> tuple[str, ...]:
    frames, ms, interval_ms = np.array(effects).T
    spread = f"{np.median(frames):.0f} ({frames.min():.0f}–{frames.max():.0f})"
    return name, str(len(ms)), spread, f"{np.median(ms):.0f}", f"{ms.max():.0f}", f"{np.median(interval_ms):.0f}"


def main(report: Report) -> None:
    modes = {"stream": ("stream", True), "stream, restarted": ("stream", False), "snap": ("snap", False)}
    rows = [
        row(name, words, measure(kind, *mode)) for name, kind in KINDS.items() for words, mode in modes.items()
    ]  # fmt: skip
    report.table(
        "From a decision to its effect, on a real MMCore",
        f"DemoCamera 512×512, exposure 10 ms, a frame every 50 ms, {REPEATS} times each, one process, no perception (add its "
        "time). From the end of exposure of the frame decided on to that of the first frame which shows it; “obeyed” until the "
        "devices had answered. In a stream the camera runs freely (10.7 ms) and every fifth image is a frame. “restarted”: "
        "`live_changes = false`.",
        ("command", "policies", "mode", "frames (least–most)", "p50 ms", "p95 ms", "obeyed, p50 ms"),
        rows,
    )
    with tempfile.TemporaryDirectory(dir=".", prefix="benchmark-") as root:
        at_work = policies_at_work(Path(root) / "session")
    report.table(
        "From a policy's decision to its effect, on a real MMCore",
        f"`micromanager_policies.toml` for {SECONDS:.0f} s: real processes, threshold segmenter, tracker, all policies at "
        "once, snap by snap at the intervals that they ask for. Effects that no frame shows do not count.",
        ("policy", "decisions", "frames (least–most)", "p50 ms", "most ms", "interval before, p50 ms"),
        [policy_row(name, effects) for name, effects in sorted(at_work.items()) if effects],
    )


if __name__ == "__main__":
    main(Report())
