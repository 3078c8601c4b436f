"""Where does the time go from the end of exposure to the outcome? 512×512, 100 cells, 20 frames/s, real processes.

A policy asks for a stage move on every frame, so that every analysed frame meets an outcome. A bare ZeroMQ round trip at
the same rate, between two processes without any of our code, is measured in the same run.
"""

import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import zmq

from benchmarks.sessions import session_of
from benchmarks.tables import Report
from realtime.latency import STAGES

CONFIG = Path(__file__).with_name("latency.toml")
SECONDS = 120.0
PERCEPTION = ("preprocessed", "inferred", "labelled", "measured", "classified")
ECHO = """
import sys, zmq
socket = zmq.Context().socket(zmq.PAIR); socket.connect(sys.argv[1])
while True:
    message = socket.recv()
    if not message: break
    socket.send(message)
"""


def bare_round_trip_ms(n: int = 400, rate_hz: float = 20.0) -> np.ndarray:
    context = zmq.Context()
    socket = context.socket(zmq.PAIR)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    echo = subprocess.Popen([sys.executable, "-c", ECHO, f"tcp://127.0.0.1:{port}"])
    times = []
    for _ in range(n + 20):
        started = time.perf_counter()
        socket.send(b"x" * 300)
        socket.recv()
        times.append((time.perf_counter() - started) * 1000)
        time.sleep(1 / rate_hz)
    socket.send(b"")
    echo.wait(10)
    socket.close()
    context.term()
    return np.array(times[20:])


def overhead_ms(journal: Path) -> np.ndarray:
    """Per frame that met an outcome: everything from exposure to outcome that is not perception."""
    perception, totals = {}, {}
    for line in journal.open("rb"):
        record = msgspec.json.decode(line)
        if record["kind"] == "analysed":
            ends = [record["exposed_ns"], *record["ends_ns"]]
            spans = dict(zip(STAGES, np.diff(ends), strict=False))
            perception[record["frame_index"]] = sum(spans[stage] for stage in PERCEPTION)
        elif record["kind"] == "outcome" and record["decision"]:
            totals[record["decision"]["frame_index"]] = record["ends_ns"][-1] - record["exposed_ns"]
    return np.array([totals[i] - perception[i] for i in totals.keys() & perception.keys() if i > 20]) / 1e6


def main(report: Report) -> None:
    with session_of(CONFIG, SECONDS) as folder:
        summary = msgspec.json.decode((folder / "summary.json").read_bytes())
        others = overhead_ms(folder / "journal.jsonl")
    bare = bare_round_trip_ms()
    columns = ("p50_ms", "p99_ms", "p99_9_ms", "max_ms")
    rows = [(stage, *(f"{row[c]:.3f}" for c in columns)) for stage, row in summary["latency"].items()]
    for name, ms in (("**all but perception**", others), ("bare ZeroMQ round trip", bare)):
        rows.append((name, *(f"{v:.3f}" for v in (*np.quantile(ms, (0.5, 0.99, 0.999)), ms.max()))))
    report.table(
        "Latency: from the end of exposure to the outcome",
        f"512×512, 100 cells, 20 frames/s, {SECONDS:.0f} s, separate processes; {summary['frames_recorded']} frames recorded, "
        f"{summary['frames_lost_by_camera']} lost, {summary['frames_skipped_by_inference']} skipped by inference. "
        "“all but perception” is the total minus preprocess, infer, label, measure and classify, frame by frame.",
        ("stage", *columns),
        rows,
    )


if __name__ == "__main__":
    main(Report())
