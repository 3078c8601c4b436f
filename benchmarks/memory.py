"""Does memory stay flat? 100,000 inline frames, then ten minutes of real processes. Private memory: the ring is shared."""

import contextlib
import shutil
import tempfile
from pathlib import Path

import msgspec
import psutil

from benchmarks.tables import Report
from realtime.config import load_config
from realtime.inline import inline_run
from realtime.processes.supervisor import Supervisor
from realtime.wire import AnyMessage, Status

INLINE = Path(__file__).with_name("memory.toml")
PROCESSES = Path(__file__).with_name("latency.toml")
N_FRAMES = 100_000
SECONDS = 600.0


def inline_rows(n_frames: int = N_FRAMES) -> list[tuple[str, ...]]:
    config = load_config(INLINE)
    memory_mb: dict[int, float] = {}
    process = psutil.Process()
    marks = {n_frames // 10 * i for i in range(1, 11)}

    def see(analysis: object) -> None:
        if inline.loop.n_frames in marks:
            memory_mb[inline.loop.n_frames] = process.memory_full_info().uss / 1e6

    duration_s = n_frames * config.imaging.interval_ms / 1000 + 1
    with (
        tempfile.TemporaryDirectory(dir=".", prefix="benchmark-") as root,
        inline_run(config, "memory", Path(root) / "session", "", duration_s, see) as inline,
    ):
        assert inline.image().ok
    first, last = memory_mb[n_frames // 10], memory_mb[n_frames]
    return [("inline", f"{n_frames} frames", f"{first:.1f}", f"{last:.1f}", f"{(last / first - 1):+.2%}", "0")]


def process_rows(seconds: float = SECONDS) -> list[tuple[str, ...]]:
    samples: dict[str, list[tuple[int, float]]] = {}

    def watch(message: AnyMessage) -> None:
        if isinstance(message, Status):
            for role, child in supervisor.children.items():
                with contextlib.suppress(psutil.NoSuchProcess):  # the run is ending
                    private_mb = psutil.Process(child.process.pid).memory_full_info().uss / 1e6
                    samples.setdefault(role, []).append((message.frames, private_mb))

    with tempfile.TemporaryDirectory(dir=".", prefix="benchmark-") as root:
        folder = Path(root) / "session"
        with Supervisor(load_config(PROCESSES), folder, seconds, watch) as supervisor:
            supervisor.start()
            result = supervisor.supervise()
        assert result.ok, result.reason
        summary = msgspec.json.decode((folder / "summary.json").read_bytes())
        shutil.rmtree(folder)
    rows = []
    for role, points in samples.items():
        first = points[len(points) // 10][1]
        last = points[-1][1]
        lost = summary["frames_lost_by_camera"] + (summary["frames_recorded"] - summary["frames_readable"])
        growth = f"{last / first - 1:+.2%}"
        rows.append((role, f"{summary['frames_recorded']} frames", f"{first:.1f}", f"{last:.1f}", growth, str(lost)))
    return rows


def main(report: Report) -> None:
    report.table(
        "Memory: after a tenth of the run and at its end",
        f"{N_FRAMES} inline frames of 128×128 with the recorder on; {SECONDS / 60:.0f} minutes of real processes, "
        "512×512, 100 cells, 20 frames/s.",
        ("process", "run", "after a tenth MB", "at the end MB", "growth", "frames lost"),
        inline_rows() + process_rows(),
    )


if __name__ == "__main__":
    main(Report())
