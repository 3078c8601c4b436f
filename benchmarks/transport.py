"""How fast does a 2048×2048 16-bit frame get from the acquisition process to the inference process?

Ours (pixels in the ring, words over CURVE-authenticated ZeroMQ) against pyzmq over ipc with and without copies, no
authentication. Sender and receiver are separate processes; the three ways take turns, so the machine's mood hits all.
The receiver of each way ends with a numpy array of the frame and reads one value in every 4 kB page of it.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import zmq

from acquisition.clock import SystemClock
from acquisition.frame import FrameHeader, StagePosition
from benchmarks.tables import Report
from realtime.bus import Address, Client, Door, KeyPair
from realtime.ring import Ring
from realtime.wire import FrameReady, Heartbeat

SHAPE, DTYPE = (2048, 2048), np.dtype(np.uint16)
N_FLOOD, N_PACED, ROUNDS = 200, 200, 5
PACE_S = 0.02
SLOTS = 8
RUN = "benchmark"
WAYS = ("ring", "ipc with copies", "ipc without copies")


def header(index: int, t_ns: int) -> FrameHeader:
    return FrameHeader(
        index=index, t_ns=t_ns, t_read_ns=t_ns, height_px=SHAPE[0], width_px=SHAPE[1], dtype="uint16", channel="",
        exposure_ms=1.0, interval_ms=10.0, light_mw=0.0, stage=StagePosition(),
        stage_from_pixel=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), um_per_px=1.0,
    )  # fmt: skip


def touch(pixels: np.ndarray) -> int:
    """Read one value in every page: a frame that nobody can read has not arrived."""
    return int(pixels.reshape(-1)[::2048].sum())


# --- receivers (child process): print one line of one-way times in ns ------------------------------------------------


def receive_ring(n_frames: int, *words: str) -> list[int]:
    endpoint, server_key, public, secret, name = words
    ring = Ring.attach(name)
    client = Client("door", Address(endpoint, server_key), RUN, KeyPair(public, secret))
    client.send(Heartbeat(run=RUN, role="inference", pid=os.getpid(), progress=0))
    client.send(_hello())
    times: list[int] = []
    while len(times) < n_frames:
        for message in client.receive(1.0):
            assert isinstance(message, FrameReady)
            touch(ring.view(message.slot, message.seq, SHAPE, DTYPE))
            times.append(time.perf_counter_ns() - message.header.t_ns)
            ring.release(message.seq)
    client.close()
    ring.close()
    return times


def _hello() -> object:
    from realtime.wire import InferenceStarted

    return InferenceStarted(run=RUN, pid=os.getpid(), perception="benchmark")


def receive_ipc(n_frames: int, endpoint: str, copy: bool) -> list[int]:
    context = zmq.Context()
    socket = context.socket(zmq.PULL)
    socket.rcvhwm = SLOTS
    socket.connect(endpoint)
    times = []
    for _ in range(n_frames):
        t_ns, pixels = socket.recv_multipart(copy=copy)
        data = pixels if copy else pixels.buffer
        touch(np.frombuffer(data, dtype=DTYPE).reshape(SHAPE))
        stamp = t_ns if copy else t_ns.bytes
        times.append(time.perf_counter_ns() - int(stamp))
    socket.close()
    context.term()
    return times


def child() -> None:
    way, n_frames, *words = sys.argv[2:]
    if way == "ring":
        times = receive_ring(int(n_frames), *words)
    else:
        times = receive_ipc(int(n_frames), words[0], copy=way == "ipc with copies")
    print(*times)


# --- senders (this process) ------------------------------------------------------------------------------------------


def start(way: str, n_frames: int, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "benchmarks.transport", "child", way, str(n_frames), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finish(process: "subprocess.Popen[str]") -> list[int]:
    out, _ = process.communicate(timeout=120)
    return [int(word) for word in out.split()]


def send_frames(n_frames: int, pace_s: float, send: Callable[[int], None]) -> float:
    """Send all, at a pace or as fast as the other side takes them; seconds."""
    started = time.perf_counter()
    for i in range(n_frames):
        if pace_s:
            time.sleep(max(0.0, started + i * pace_s - time.perf_counter()))
        send(i)
    return time.perf_counter() - started


def by_ring(frames: np.ndarray, n_frames: int, pace_s: float) -> tuple[float, list[int]]:
    clock, server, client = SystemClock(), KeyPair.new(), KeyPair.new()
    ring = Ring.create(f"benchmark-{os.getpid()}", SLOTS, frames[0].nbytes)
    door = Door(RUN, server, {client.public: "inference"}, clock)
    process = start("ring", n_frames, door.address.endpoint, server.public, client.public, client.secret, ring.name)
    while not door.knows("inference"):
        list(door.receive(0.1))

    def send(i: int) -> None:
        pixels, t_ns = frames[i % len(frames)], time.perf_counter_ns()
        while (place := ring.write(pixels)) is None:
            time.sleep(20e-6)
        assert door.send("inference", FrameReady(run=RUN, header=header(i, t_ns), slot=place[0], seq=place[1]))

    started = time.perf_counter()
    send_frames(n_frames, pace_s, send)
    times = finish_when_received(process, lambda: ring.fill() == 0)
    seconds = times[0] - started
    door.close()
    ring.close()
    return seconds, times[1]


def finish_when_received(process: "subprocess.Popen[str]", empty: Callable[[], bool]) -> tuple[float, list[int]]:
    while not empty():
        time.sleep(20e-6)
    done = time.perf_counter()
    return done, finish(process)


def by_ipc(frames: np.ndarray, n_frames: int, pace_s: float, copy: bool) -> tuple[float, list[int]]:
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.sndhwm = SLOTS
    endpoint = f"ipc://{tempfile.mkdtemp()}/frames"
    socket.bind(endpoint)
    process = start("ipc with copies" if copy else "ipc without copies", n_frames, endpoint)
    monitor = socket.poll(10_000, zmq.POLLOUT)
    assert monitor, "the receiver did not connect"

    def send(i: int) -> None:
        socket.send_multipart((str(time.perf_counter_ns()).encode(), frames[i % len(frames)]), copy=copy)

    sent = send_frames(n_frames, pace_s, send)
    times = finish(process)
    # The last frames are still on their way when the sender is done: add their one-way time.
    seconds = sent + times[-1] / 1e9
    socket.close()
    context.term()
    return seconds, times


def measure(way: str, frames: np.ndarray, n_frames: int, pace_s: float) -> tuple[float, list[int]]:
    if way == "ring":
        return by_ring(frames, n_frames, pace_s)
    return by_ipc(frames, n_frames, pace_s, copy=way == "ipc with copies")


def main(report: Report) -> None:
    frames = np.random.default_rng(0).integers(0, 4000, (4, *SHAPE), dtype=np.uint16)
    mb = frames[0].nbytes / 1e6
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    one_way: dict[str, list[int]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way in WAYS:
            seconds, _ = measure(way, frames, N_FLOOD, 0.0)
            rates[way].append(N_FLOOD * mb / seconds)
            one_way[way] += measure(way, frames, N_PACED, PACE_S)[1][10:]
    rows = []
    for way in WAYS:
        ms = np.array(one_way[way]) / 1e6
        ratio = median(ours / theirs for ours, theirs in zip(rates["ring"], rates[way], strict=True))
        rows.append(
            (
                way,
                f"{median(rates[way]):.0f}",
                f"{ratio:.1f}×",
                f"{np.median(ms):.2f}",
                f"{np.quantile(ms, 0.99):.2f}",
                f"{ms.max():.2f}",
            )
        )
    report.table(
        "Transport: 2048×2048 16-bit frames between two processes",
        f"Flood of {N_FLOOD} frames, median of {ROUNDS} rounds in turn; "
        f"one way at {1 / PACE_S:.0f} frames/s, {len(one_way['ring'])} frames a way.",
        ("way", "MB/s", "ours is", "one way p50 ms", "p99 ms", "max ms"),
        rows,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child()
    else:
        main(Report())
