"""`reflexscope check`: what the config says with its defaults, and whether this rig and machine can keep up with it."""

import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from acquisition.clock import NS_PER_MS, NS_PER_S, SystemClock
from acquisition.frame import Frame
from acquisition.microscope import Capabilities, Microscope
from realtime.bus import Client, Door, KeyPair
from realtime.config import RunConfig, resolved
from realtime.inference import Inference
from realtime.policy import Dose
from realtime.processes.rig_lock import RigLock
from realtime.ring import Ring, slots_for
from realtime.session.writer import SessionWriter
from realtime.wire import FrameReady, Heartbeat

CAMERA_S = 2.0
DISK_BYTES = 200e6
ROUND_TRIPS = 200
HEADROOM = 0.8
"""Only so much of what was measured counts as kept in reserve: 20 % for other programs."""


@dataclass(frozen=True)
class Finding:
    """One thing measured against what the config demands of it."""

    what: str
    measured: float
    demanded: float
    unit: str
    more_is_better: bool
    advice: str

    @property
    def ok(self) -> bool:
        if self.more_is_better:
            return self.measured * HEADROOM >= self.demanded
        return self.measured <= self.demanded * HEADROOM

    def words(self) -> str:
        verdict = "keeps up" if self.ok else f"will not keep up: {self.advice}"
        side = "at least" if self.more_is_better else "at most"
        return f"{self.what:<28} {self.measured:>10.2f} {self.unit:<9} (needs {side} {self.demanded:.2f})  {verdict}"


def marked_config(config: RunConfig, path: Path) -> str:
    """The resolved config as TOML; lines that the file does not have end in `# default`."""
    given = tomllib.loads(path.read_text(encoding="utf-8"))
    lines = []
    for section, table in resolved(config).items():
        tables = table if isinstance(table, list) else [table]
        for i, values in enumerate(tables):
            lines.append(f"[[{section}]]" if isinstance(table, list) else f"[{section}]")
            asked = given.get(section, [{}] * len(tables) if isinstance(table, list) else {})
            asked = asked[i] if isinstance(asked, list) else asked
            lines += [_line(key, value, key in asked) for key, value in values.items() if value is not None]
            lines.append("")
    return "\n".join(lines)


def _line(key: str, value: Any, given: bool) -> str:
    text = msgspec.toml.encode({key: value}).decode().strip().replace("\n", " ")
    return text if given else f"{text:<40} # default"


def rehearsal(config: RunConfig) -> list[Finding]:
    """Open the rig, image for two seconds, and measure camera, ring, bus, inference and disk. Raises MicroscopeError."""
    clock = SystemClock()
    microscope: Microscope = config.microscope.build()
    with RigLock(microscope.rig_id, "rehearsal"):
        try:
            capabilities = microscope.open(clock, config.imaging)
            frames, rate_hz = _image(microscope, clock)
        finally:
            microscope.close()
    demanded_hz = 1000 / config.imaging.interval_ms
    return [
        Finding(
            "camera",
            rate_hz,
            demanded_hz * HEADROOM * 0.97,
            "frames/s",
            True,
            "raise imaging.interval_ms or read a smaller ROI",
        ),
        _ring_finding(config, capabilities, frames),
        _bus_finding(clock),
        _inference_finding(config, frames, clock),
        _disk_finding(config, frames, clock),
    ]


def _image(microscope: Microscope, clock: SystemClock) -> tuple[list[Frame], float]:
    frames: list[Frame] = []
    microscope.start()
    until_ns = clock.now_ns() + round(CAMERA_S * NS_PER_S)
    while clock.now_ns() < until_ns and not microscope.exhausted():
        clock.sleep_s(microscope.ready_in_s())
        if (frame := microscope.poll_frame()) is not None:
            frames = [*frames[-19:], frame]
    span_ns = frames[-1].header.t_ns - frames[0].header.t_ns if len(frames) > 1 else 0
    indices = frames[-1].header.index - frames[0].header.index if frames else 0
    return frames, indices * NS_PER_S / span_ns if span_ns else 0.0


def _ring_finding(config: RunConfig, capabilities: Capabilities, frames: list[Frame]) -> Finding:
    n_bytes = capabilities.height_px * capabilities.width_px * np.dtype(capabilities.dtype).itemsize
    slots = slots_for(config.ring.megabytes, n_bytes)
    ring = Ring.create("rehearsal-" + KeyPair.new().public[:8].encode().hex(), slots, n_bytes)
    try:
        clock = SystemClock()
        pixels = (
            frames[-1].pixels
            if frames
            else np.zeros((capabilities.height_px, capabilities.width_px), capabilities.dtype)
        )
        ms = _median_ms(clock, 10, lambda: ring.release((ring.write(pixels) or (0, 0))[1]))
    finally:
        ring.close()
    return Finding("ring, a frame", ms, config.imaging.interval_ms, "ms", False, "raise imaging.interval_ms")


def _bus_finding(clock: SystemClock) -> Finding:
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
        ms = _median_ms(clock, ROUND_TRIPS, one_way)
    finally:
        peer.close()
        door.close()
    return Finding("bus, a message", ms, 3.0, "ms", False, "something on this machine keeps every core busy")


def _inference_finding(config: RunConfig, frames: list[Frame], clock: SystemClock) -> Finding:
    inference = Inference.from_config(config, clock)
    times_ms = []
    for frame in frames[:3] + frames:
        started_ns = clock.now_ns()
        inference.look(frame, Dose())
        times_ms.append((clock.now_ns() - started_ns) / NS_PER_MS)
    worst_ms = float(np.quantile(times_ms[3:], 0.95)) if frames else 0.0
    return Finding(
        "inference, a frame (p95)", worst_ms, config.imaging.interval_ms, "ms", False,
        "frames will be skipped: raise imaging.interval_ms, read a smaller ROI, or use a faster segmenter",
    )  # fmt: skip


def _disk_finding(config: RunConfig, frames: list[Frame], clock: SystemClock) -> Finding:
    demanded = frames[-1].header.n_bytes / config.imaging.interval_ms / 1000 if frames else 0.0
    sessions = Path(config.rig.sessions)
    sessions.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=sessions, prefix="rehearsal-") as folder:
        n_frames = max(8, int(DISK_BYTES // frames[-1].header.n_bytes)) if frames else 0
        started_ns = clock.now_ns()
        with SessionWriter(Path(folder) / "session", "", clock, config.recorder) as writer:
            for i in range(n_frames):
                frame = frames[i % len(frames)]
                header = msgspec.structs.replace(frame.header, index=i)
                writer.add_frame(FrameReady(run="rehearsal", header=header, slot=0, seq=i), frame.pixels)
        seconds = (clock.now_ns() - started_ns) / NS_PER_S
    measured = n_frames * frames[-1].header.n_bytes / 1e6 / seconds if frames else 0.0
    return Finding("disk", measured, demanded, "MB/s", True, "use a faster disk or raise imaging.interval_ms")


def _median_ms(clock: SystemClock, n: int, action: Callable[[], object]) -> float:
    times_ns = []
    for _ in range(n):
        started_ns = clock.now_ns()
        action()
        times_ns.append(clock.now_ns() - started_ns)
    return float(np.median(times_ns)) / NS_PER_MS
