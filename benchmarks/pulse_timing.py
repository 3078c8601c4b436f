"""How exactly does the gate keep a pulse's moment: by the computer's clock, and by that of a serial sorter?

By the computer's: the acquisition loop as in a run, with the bus's door and the ring, on a microscope that only hands out
images. Pulses of 0.3 ms are asked for 20 ms ahead at random moments; every edge of the output is timed where the
loop makes it. Serial: the scripted peer of the tests on a pseudo-terminal, in this process; its true clock is known.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from acquisition.clock import NS_PER_MS, NS_PER_S, SystemClock
from acquisition.commands import Order, PulseSorter
from acquisition.frame import Frame
from acquisition.limits import Limits
from acquisition.loop import AcquisitionLoop
from acquisition.microscope import Imaging
from acquisition.serial_sorter import SerialSorter
from benchmarks.rigs import StillMicroscope
from benchmarks.tables import Report
from realtime.bus import Door, KeyPair
from realtime.ring import Ring
from tests.serial_peer import SerialPeer

SECONDS, WIDTH_MS, AHEAD_MS = 20.0, 0.3, 20.0
STACK_SIDE_PX = 362
"""Squared, of two bytes: as much as 16 strips of 64 × 256 bytes."""
TOLERANCES_MS = (0.05, 0.1, 0.2, 1.0)
CASES = (("no frames", 1000.0, 50.0), ("250 stacks/s", 4.0, 50.0), ("250 stacks/s", 4.0, 250.0))
CLOCK = SystemClock()


@dataclass
class GatedMicroscope(StillMicroscope):
    """Notes every edge of its output."""

    edges_ns: list[int] = field(default_factory=list)

    def set_gate(self, opened: bool) -> None:
        self.edges_ns.append(CLOCK.now_ns())
        super().set_gate(opened)


class Asking:
    """A loop's receive and answer: pulses at random moments, so many a second, never two at once."""

    def __init__(self, door: Door, ring: Ring, per_s: float) -> None:
        self._door, self._ring, self._per_s, self._dice = door, ring, per_s, random.Random(0)
        self._next_ns = CLOCK.now_ns() + round(100 * NS_PER_MS)
        self.n_asked = 0
        self.done_ns: list[int] = []
        """Moments of the pulses that came."""

    def publish(self, frame: Frame, dose_mj: float) -> None:
        place = self._ring.write(frame.pixels)
        assert place is not None
        self._ring.release(place[1])

    def receive(self, timeout_s: float) -> Iterator[Order]:
        """Waits as for a message that comes when the next pulse is asked for."""
        ask_ns = self._next_ns - round(AHEAD_MS * NS_PER_MS)
        list(self._door.receive(max(0.0, min(timeout_s, (ask_ns - CLOCK.now_ns()) / NS_PER_S))))
        if CLOCK.now_ns() >= ask_ns:
            self.n_asked += 1
            yield Order(id=str(self.n_asked), command=PulseSorter(self._next_ns, width_ms=WIDTH_MS), source="benchmark")
            apart_s = 1.5 * WIDTH_MS / 1000
            self._next_ns += round((apart_s + self._dice.expovariate(1 / (1 / self._per_s - apart_s))) * NS_PER_S)

    def answer(self, order: Order, status: str, detail: str, checked_ns: int) -> None:
        if status == "done":
            assert isinstance(order.command, PulseSorter)
            self.done_ns.append(order.command.at_ns)


def by_computer(interval_ms: float, per_s: float) -> tuple[np.ndarray, np.ndarray, int]:
    """How late each pulse opened and how much too wide it was, µs, and how many were asked for."""
    keys = KeyPair.new()
    door = Door("benchmark", keys, {}, CLOCK)
    ring = Ring.create("benchmark-" + keys.public[:8].encode().hex(), 64, 2 * STACK_SIDE_PX**2)
    microscope = GatedMicroscope(side_px=STACK_SIDE_PX)
    imaging = Imaging(interval_ms=interval_ms, exposure_ms=0.1)
    limits = Limits(x_um=(0, 0), y_um=(0, 0), pulse_tolerance_ms=1000.0, exposure_ms=(0.01, 10), interval_ms=(1, 2000))
    try:
        capabilities = microscope.open(CLOCK, imaging)
        asking = Asking(door, ring, per_s)
        loop = AcquisitionLoop(
            microscope, capabilities, limits, imaging, CLOCK, asking.publish, asking.receive, asking.answer, SECONDS
        )
        end = loop.run()
        assert end.ok, end.reason
    finally:
        ring.close()
        door.close()
    opened_ns, shut_ns = np.array(microscope.edges_ns[0::2]), np.array(microscope.edges_ns[1::2])
    n = len(asking.done_ns)
    late_us = (opened_ns[:n] - np.array(asking.done_ns)) / 1000
    return late_us, (shut_ns[:n] - opened_ns[:n]) / 1000 - WIDTH_MS * 1000, asking.n_asked


def by_serial(drift_ppm: float, per_s: float = 250.0) -> tuple[np.ndarray, str]:
    """Error of each pulse by the peer's true clock, µs, and what the sorter said of the connection."""
    peer = SerialPeer(drift_ppm=drift_ppm).start()
    sorter = SerialSorter(port=peer.port)
    words = sorter.open(CLOCK)
    moments_ns: list[int] = []
    next_ns = CLOCK.now_ns()
    until_ns = next_ns + round(SECONDS * NS_PER_S)
    while CLOCK.now_ns() < until_ns:
        if CLOCK.now_ns() >= next_ns:
            next_ns += round(NS_PER_S / per_s)
            moments_ns.append(next_ns + round(AHEAD_MS * NS_PER_MS))
            sorter.fire_at(moments_ns[-1], WIDTH_MS, str(len(moments_ns)))
        sorter.reports()
        CLOCK.sleep_s(0.001)
    sorter.close()
    peer.stop()
    opened_ns = np.array([opened for _, opened, _ in peer.gate])
    return np.abs(opened_ns[:, None] - np.array(moments_ns)).min(axis=1) / 1000, words


def spread(values_us: np.ndarray) -> list[str]:
    """p50, p99 and the largest of absolute values."""
    sizes = np.abs(values_us)
    return [f"{np.median(sizes):.0f}", f"{np.quantile(sizes, 0.99):.0f}", f"{sizes.max():.0f}"]


def main(report: Report) -> None:
    rows = []
    for name, interval_ms, per_s in CASES:
        late_us, wider_us, n_asked = by_computer(interval_ms, per_s)
        refused = [f"{np.mean(late_us > tolerance_ms * 1000):.2%}" for tolerance_ms in TOLERANCES_MS]
        rows.append([f"{name}, {per_s:g} pulses/s", str(n_asked), *spread(late_us), *spread(wider_us), *refused])
    report.table(
        "Pulses by the computer's clock",
        f"The acquisition loop for {SECONDS:g} s each; pulses of {WIDTH_MS:g} ms asked for {AHEAD_MS:g} ms ahead. Late: from a "
        "pulse's moment to the opening of the output; none opens early. Wider: than asked. Refused: share that a "
        "`limits.pulse_tolerance_ms` of so much would have refused as late.",
        ["", "pulses", "late p50 µs", "p99", "max", "wider p50 µs", "p99", "max"]
        + [f"refused at {tolerance_ms:g} ms" for tolerance_ms in TOLERANCES_MS],
        rows,
    )  # fmt: skip
    rows = []
    for drift_ppm in (0.0, 40.0, -2000.0):
        errors_us, words = by_serial(drift_ppm)
        rows.append(
            [
                f"{drift_ppm:+g} ppm",
                str(len(errors_us)),
                *spread(errors_us),
                words.rpartition("round trip ")[2].strip(")"),
            ]
        )
    report.table(
        "Pulses by the clock of a serial sorter",
        f"The scripted peer on a pseudo-terminal, 250 pulses/s for {SECONDS:g} s each: how far from its moment a pulse opens "
        "by the peer's true clock, which is what the computer's idea of that clock is wrong by.",
        ["peer's clock", "pulses", "off p50 µs", "p99", "max", "shortest round trip"],
        rows,
    )


if __name__ == "__main__":
    main(Report())
