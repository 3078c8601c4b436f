"""How fast does this disk take 2048×2048 16-bit frames through the whole path, without losing one?

Real processes: the acquisition process plays frames from memory at a steady rate, the recorder writes them. The rate is
raised until a run loses a frame or fills the ring. Beside it stands what ordinary file writing reaches in the same minute.
"""

import contextlib
import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from benchmarks.tables import Report
from realtime.config import RunConfig, load_config
from realtime.processes.supervisor import Supervisor
from realtime.wire import AnyMessage, Status

CONFIG = Path(__file__).with_name("recorder.toml")
SIDE = 2048
FRAME_MB = SIDE * SIDE * 2 / 1e6
SECONDS = 20.0
RATES_HZ = (60, 100, 140, 180, 220, 260, 300)


@dataclass
class Outcome:
    ok: bool
    n_frames: int
    lost: int
    cpu_share: float
    ring_peak: float
    mb_s: float


def plain_disk_mb_s(folder: Path, frame: np.ndarray, n: int = 150) -> float:
    started = time.perf_counter()
    for i in range(n):
        with (folder / str(i)).open("wb", buffering=0) as file:
            file.write(frame.data)
    os.sync()
    return n * FRAME_MB / (time.perf_counter() - started)


def record(config: RunConfig, folder: Path) -> Outcome:
    peak = {"ring": 0.0, "cpu": 0.0, "lost": 0.0}

    def watch(message: AnyMessage) -> None:
        if isinstance(message, Status):
            peak["ring"] = max(peak["ring"], message.figures["ring_fill"])
            peak["lost"] = message.lost
            with contextlib.suppress(psutil.NoSuchProcess):  # the run is ending
                times = psutil.Process(supervisor.children["recorder"].process.pid).cpu_times()
                peak["cpu"] = times.user + times.system

    with Supervisor(config, folder, SECONDS, watch) as supervisor:
        supervisor.start()
        result = supervisor.supervise()
    os.sync()
    n_frames = json.loads((folder / "summary.json").read_text())["frames_readable"] if result.ok else 0
    mb_s = n_frames * FRAME_MB / SECONDS
    return Outcome(result.ok, n_frames, int(peak["lost"]), peak["cpu"] / SECONDS, peak["ring"], mb_s)


def main(report: Report) -> None:
    frame = np.random.default_rng(0).integers(0, 4000, (SIDE, SIDE), dtype=np.uint16)
    rows = []
    with tempfile.TemporaryDirectory(dir=".", prefix="benchmark-") as root:
        for rate_hz in RATES_HZ:
            plain = Path(root) / "plain"
            plain.mkdir()
            disk_mb_s = plain_disk_mb_s(plain, frame)
            shutil.rmtree(plain)
            config = load_config(CONFIG, [f"imaging.interval_ms={1000 / rate_hz}"])
            outcome = record(config, Path(root) / "session")
            shutil.rmtree(Path(root) / "session")
            kept_up = outcome.ok and outcome.lost == 0 and outcome.n_frames >= 0.97 * rate_hz * SECONDS
            rows.append(
                (
                    str(rate_hz), f"{rate_hz * FRAME_MB:.0f}", f"{outcome.n_frames}", f"{outcome.mb_s:.0f}", str(outcome.lost),
                    f"{outcome.ring_peak:.0%}", f"{outcome.cpu_share:.0%}", f"{disk_mb_s:.0f}", "yes" if kept_up else "no",
                )
            )  # fmt: skip
            if not kept_up:
                break
    report.table(
        "Recorder: 2048×2048 16-bit frames to disk",
        f"{SECONDS:.0f} s a rate, real processes, no compression. “plain disk” writes 150 such frames as plain files "
        "and syncs, just before each run. The last row is the first rate that did not hold.",
        ("frames/s asked", "MB/s asked", "frames kept", "MB/s kept", "lost", "ring at most", "recorder's share of a core",
         "plain disk MB/s", "held"),
        rows,
    )  # fmt: skip


if __name__ == "__main__":
    main(Report())
