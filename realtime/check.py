"""`reflexscope check`: what the config says with its defaults, and whether this rig and machine can keep up with it."""

import re
import tempfile
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from acquisition.clock import NS_PER_MS, NS_PER_S, SystemClock
from acquisition.faults import Faults
from acquisition.frame import Frame
from acquisition.microscope import Imaging, Microscope, MicroscopeError
from realtime.bus import Client, Door, KeyPair
from realtime.config import RunConfig, resolved
from realtime.devices import build_rig
from realtime.inference import Inference, perception_from
from realtime.processes.inference import warm_up, warm_up_tracker
from realtime.processes.rig_lock import RigLock
from realtime.ring import Ring, slots_for
from realtime.session.disk import explained
from realtime.session.writer import SessionWriter
from realtime.wire import FrameReady, Heartbeat

CAMERA_S = 2.0
SLOWEST_MS = 5000.0
"""A slower run is rehearsed at this interval: what keeps up with it keeps up with less."""
FRAMES_KEPT = 20
N_COLD = 3
"""The first looks of a fresh inference are not what a run sees."""
DISK_BYTES = 200e6
LEAST_WRITTEN, MOST_WRITTEN = 8, 1000
ROUND_TRIPS = 200
HEADROOM = 0.8
"""Share of what was measured that a run may use: the rest is kept for other programs."""
CAMERA_TOLERANCE = 1.1
"""A camera that runs freely keeps to multiples of its own period: within 10 % is what was asked for."""


@dataclass(frozen=True)
class Finding:
    """One thing measured against what the config demands of it."""

    what: str
    measured: float
    demanded: float
    unit: str
    more_is_better: bool
    advice: str
    usable: float = HEADROOM
    """Share of what was measured that may be demanded."""

    @property
    def limit(self) -> float:
        """What was measured must reach this, or must not exceed it: the demand, with the reserve that is kept."""
        return self.demanded / self.usable if self.more_is_better else self.demanded * self.usable

    @property
    def ok(self) -> bool:
        return self.measured >= self.limit if self.more_is_better else self.measured <= self.limit

    def words(self) -> str:
        """One line, with the limit that decides, and the advice below it if it is needed."""
        side = "at least" if self.more_is_better else "at most"
        verdict = "keeps up" if self.ok else "will not keep up"
        line = f"{self.what:<17} {self.measured:>9.2f} {self.unit:<8}  needs {side:<8} {self.limit:>8.2f}  {verdict}"
        return line if self.ok else f"{line}\n    {self.advice}"


@dataclass(frozen=True)
class Remark:
    """One thing that is wrong, or worth knowing, without a limit of its own."""

    what: str
    text: str
    ok: bool

    def words(self) -> str:
        """One line."""
        return f"{self.what:<17} {self.text}"


def marked_config(config: RunConfig, given: Mapping[str, Any]) -> str:
    """The resolved config as TOML that can be loaded again; what was not `given` ends in `# default`."""
    lines = []
    for section, table in resolved(config).items():
        is_list = isinstance(table, list)
        asked = given.get(section, [] if is_list else {})
        for values, ours in zip(table, asked, strict=True) if is_list else [(table, asked)]:
            lines.append(f"[[{section}]]" if is_list else f"[{section}]")
            lines += [_line(key, value, key in ours) for key, value in values.items()]
            lines.append("")
    return "\n".join(lines)


def _line(key: str, value: Any, given: bool) -> str:
    if value is None:
        return f"{f'# {key} =':<40} # default: not set"
    text = f"{key} = {toml_value(value)}"
    return text if given else f"{text:<40} # default"


def toml_value(value: Any) -> str:
    """On one line; what is None within a table is left out."""
    if isinstance(value, dict):
        items = (f"{_key(key)} = {toml_value(item)}" for key, item in value.items() if item is not None)
        return f"{{ {', '.join(items)} }}" if value else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _text(value) if isinstance(value, str) else repr(value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _text(key)


def _text(text: str) -> str:
    """A basic string: TOML's escapes are JSON's."""
    return msgspec.json.encode(text).decode()


def rehearsal(
    config: RunConfig, tell: Callable[[str], None] = lambda text: None
) -> list[Finding] | list[Finding | Remark]:
    """Open the rig, image for some seconds, measure camera, ring, bus, inference and disk. Raises MicroscopeError.

    Engines that must be built before a run (TensorRT) are built on the way; `tell` hears how that goes, and what the
    devices can do in step with the camera without the computer.
    """
    if config.sort is not None:
        from realtime.sort.check_sort import sort_rehearsal

        return sort_rehearsal(config, tell)
    clock = SystemClock()
    microscope = build_rig(config, Faults())
    imaging = _rehearsed(config.imaging, config.limits.duty_cycle)
    with RigLock(microscope.rig_id, "rehearsal"):
        try:
            sequences = microscope.open(clock, imaging).sequences
            tell(f"the devices sequence by themselves: {', '.join(sequences) or 'nothing'}")
            frames, rate_hz = take_frames(microscope, clock, imaging.interval_ms)
        finally:
            microscope.close()
    return [
        camera_finding(rate_hz, 1000 / imaging.interval_ms),
        ring_finding(config, frames, config.imaging.interval_ms),
        bus_finding(clock),
        _inference_finding(config, frames, clock, tell),
        disk_finding(config, frames, clock, config.imaging.interval_ms),
    ]


def _rehearsed(imaging: Imaging, duty_cycle: float) -> Imaging:
    """As configured, or faster where that would take long; never with more light than the limits allow."""
    interval_ms = min(imaging.interval_ms, max(SLOWEST_MS, imaging.exposure_ms / duty_cycle))
    return msgspec.structs.replace(imaging, interval_ms=interval_ms)


def take_frames(
    microscope: Microscope, clock: SystemClock, interval_ms: float, most_bytes: float = 0.0
) -> tuple[list[Frame], float]:
    """The last frames, FRAMES_KEPT or as many more as `most_bytes` hold, and frames per second."""
    frames: deque[Frame] = deque()
    first: Frame | None = None
    microscope.start()
    seconds = max(CAMERA_S, 2.5 * interval_ms / 1000)
    until_ns = clock.now_ns() + round(seconds * NS_PER_S)
    while clock.now_ns() < until_ns and not microscope.exhausted():
        clock.sleep_s(microscope.ready_in_s())
        if (frame := microscope.poll_frame()) is not None:
            first = first or frame
            frames.append(frame)
            if len(frames) > max(FRAMES_KEPT, most_bytes // frame.header.n_bytes):
                frames.popleft()
    if first is None:
        raise MicroscopeError(
            f"rehearsal: the camera gave no frame within {seconds:g} s; check its cable, trigger mode and driver"
        )
    last = frames[-1].header
    span_ns, n_frames = last.t_ns - first.header.t_ns, last.index - first.header.index
    return list(frames), n_frames * NS_PER_S / span_ns if span_ns else 0.0


def camera_finding(rate_hz: float, demanded_hz: float, unit: str = "frames/s") -> Finding:
    """Does it give as many as were asked for?"""
    return Finding(
        "camera", rate_hz, demanded_hz, unit, True,
        "raise imaging.interval_ms, or read a smaller part of the sensor", usable=CAMERA_TOLERANCE,
    )  # fmt: skip


def ring_finding(config: RunConfig, frames: list[Frame], interval_ms: float) -> Finding:
    """How long one frame takes into the ring; they come every `interval_ms`."""
    pixels = frames[-1].pixels
    slots = slots_for(config.ring.megabytes, pixels.nbytes)
    ring = Ring.create("rehearsal-" + KeyPair.new().public[:8].encode().hex(), slots, pixels.nbytes)
    try:
        ms = median_ms(SystemClock(), 10, lambda: ring.release((ring.write(pixels) or (0, 0))[1]))
    finally:
        ring.close()
    return Finding("ring, a frame", ms, interval_ms, "ms", False, "raise imaging.interval_ms")


def bus_finding(clock: SystemClock) -> Finding:
    """How long a message is on its way."""
    server, client = KeyPair.new(), KeyPair.new()
    door = Door("rehearsal", server, {client.public: "inference"}, clock)
    peer = Client("door", door.address, "rehearsal", client)
    beat = Heartbeat(run="rehearsal", role="inference", pid=0, progress=0)

    def one_way() -> None:
        peer.send(beat)
        while not list(door.receive(1.0)):
            continue

    try:
        one_way()
        ms = median_ms(clock, ROUND_TRIPS, one_way)
    finally:
        peer.close()
        door.close()
    return Finding("bus, a message", ms, 3.0, "ms", False, "something on this machine keeps every core busy")


def _inference_finding(
    config: RunConfig, frames: list[Frame], clock: SystemClock, tell: Callable[[str], None]
) -> Finding:
    perception, shape = perception_from(config), frames[-1].header.shape
    perception.build_ahead(*shape, tell)
    warm_up(Inference.from_config(config, clock, perception), shape)  # as a run does: compiling is not its speed
    warm_up_tracker(config.tracker.build(), perception)
    inference = Inference.from_config(config, clock, perception)
    times_ms = []
    for frame in frames:
        started_ns = clock.now_ns()
        inference.look(frame, 0.0)
        times_ms.append((clock.now_ns() - started_ns) / NS_PER_MS)
    warm_ms = times_ms[N_COLD:] or times_ms
    return Finding(
        "inference (p95)", float(np.quantile(warm_ms, 0.95)), config.imaging.interval_ms, "ms", False,
        "frames will be skipped: raise imaging.interval_ms, read a smaller part of the sensor, or use a faster segmenter",
    )  # fmt: skip


def disk_finding(config: RunConfig, frames: list[Frame], clock: SystemClock, interval_ms: float) -> Finding:
    """Are frames written as fast as they come, one every `interval_ms`?"""
    n_bytes = frames[-1].header.n_bytes
    n_frames = min(MOST_WRITTEN, max(LEAST_WRITTEN, int(DISK_BYTES // n_bytes)))
    sessions = Path(config.rig.sessions)
    with explained(sessions, config.recorder.min_free_gb):
        sessions.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=sessions, prefix="rehearsal-") as folder:
        started_ns = clock.now_ns()
        with SessionWriter(Path(folder) / "session", "", clock, config.recorder) as writer:
            for i in range(n_frames):
                frame = frames[i % len(frames)]
                header = msgspec.structs.replace(frame.header, index=i)
                writer.check_space()
                writer.add_frame(FrameReady(run="rehearsal", header=header, slot=0, seq=i), frame.pixels)
        seconds = (clock.now_ns() - started_ns) / NS_PER_S
    measured, demanded = n_frames * n_bytes / 1e6 / seconds, n_bytes / 1000 / interval_ms
    return Finding("disk", measured, demanded, "MB/s", True, "use a faster disk, or raise imaging.interval_ms")


def median_ms(clock: SystemClock, n: int, action: Callable[[], object]) -> float:
    """Of so many times that it takes."""
    times_ns = []
    for _ in range(n):
        started_ns = clock.now_ns()
        action()
        times_ns.append(clock.now_ns() - started_ns)
    return float(np.median(times_ns)) / NS_PER_MS
