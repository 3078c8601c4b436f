"""A recorded sort as a run would leave it, with cells, pulses and truth that are made up: what a report must say is known."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tomli_w
from scenes import header

from acquisition.clock import SimulatedClock
from acquisition.commands import Outcome, PulseSorter
from realtime.decisions import Decision
from realtime.session.disk import CONFIG, EVENTS, JOURNAL
from realtime.session.journal import JournalWriter
from realtime.session.sort_truth import PASSED, TRUTH
from realtime.session.tables import PartTable
from realtime.wire import FrameReady, OutcomeReached, StripsSorted

VERDICTS = (
    "sorted", "with_another", "unwanted", "undecided", "outside_gate", "too_few_looks", "uncertain_arrival", "coincidence",
    "gate_busy", "too_late",
)  # fmt: skip
CLASSES = ("white", "red", "platelet")
MS = 1_000_000
SIDE, STRIPS = 24, 16


@dataclass(frozen=True)
class MadeUp:
    """What there is to be found."""

    n: int
    wanted: npt.NDArray[np.bool_]
    deflected: npt.NDArray[np.bool_]
    latency_ms: npt.NDArray[np.float64]
    error_us: npt.NDArray[np.float64]
    """Of all events."""


def write_sort_session(
    folder: Path, n: int = 3_000, seed: int = 0, with_truth: bool = True, dry: bool = False, beside_us: float = 0.0,
    where: dict[str, list[float]] | None = None,
) -> MadeUp:  # fmt: skip
    """A session of `n` cells, every one seen; all are foretold too late by `beside_us`."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    sort = {
        "dry": dry, "gate": {"classes": ["white"], "where": where or {}},
        "flow": {"junction_um": 2_000.0, "speed_um_s": 100_000.0},
    }  # fmt: skip
    (folder / CONFIG).write_text(tomli_w.dumps({"config": {"sort": sort}}), "utf-8")
    wanted = rng.random(n) < 0.05
    true_ns = 100 * MS + np.cumsum(rng.exponential(2 * MS, n)).astype(np.int64)
    error_us = rng.normal(0, 20, n)
    p_wanted = 1 / (1 + np.exp(-rng.normal(np.where(wanted, 7, -6), 2.5)))
    y_um = rng.normal(0, 3, n)
    verdict = np.where(p_wanted > 0.95, 0, np.where(p_wanted > 0.01, 3, 2))
    verdict[(verdict == 0) & (rng.random(n) < 0.1)] = 7
    arrival_ns = true_ns + np.rint(1e3 * (error_us + beside_us)).astype(np.int64)
    numbers = np.cumsum(verdict == 0) - 1
    ids = np.array([f"{k}.sort.0" if v == 0 else None for k, v in zip(numbers, verdict, strict=True)], dtype=object)
    kept = (verdict == 0) | (np.arange(n) % 20 == 0)
    pictures = [_crop(rng, each) if keep else None for each, keep in zip(wanted.tolist(), kept, strict=True)]
    crop = np.array(pictures, dtype=object)
    rows = {
        "t_ns": arrival_ns - 20 * MS, "frame_index": np.arange(n), "event_id": np.arange(1, n + 1),
        "last_ns": arrival_ns - 20 * MS, "y_px": 31.5 + y_um / 0.5, "looks": np.full(n, 4), "looks_classified": np.full(n, 2),
        "speed_um_s": np.full(n, 1e5), "arrival_ns": arrival_ns, "sigma_ms": np.full(n, 0.02),
        "llr": np.zeros(n), "p_wanted": p_wanted, "verdict": verdict.astype(np.uint8),
        "at_ns": np.where(verdict == 0, arrival_ns - 150_000, 0), "width_ms": np.where(verdict == 0, 0.3, 0.0),
        "p_white": p_wanted, "p_red": 1 - p_wanted, "p_platelet": np.zeros(n),
        "area_um2": np.exp(rng.normal(np.where(wanted, 4.6, 3.8), 0.25)), "contrast": np.full(n, 0.2),
        "decision_id": ids, "crop": crop,
    }  # fmt: skip
    table = PartTable(
        folder / EVENTS, SimulatedClock(), {"verdict": VERDICTS}, kinds={"decision_id": "string", "crop": "binary"}
    )
    table.add_rows(rows)
    table.close_part()
    deflected = verdict == 0
    if with_truth:
        _write_truth(folder, true_ns, y_um, wanted, deflected)
    latency_ms = rng.gamma(4, 1.0, int(deflected.sum()))
    _write_journal(folder, latency_ms[:0] if dry else latency_ms)
    return MadeUp(n, wanted, deflected, latency_ms, error_us)


def _crop(rng: np.random.Generator, wanted: bool) -> bytes:
    """A dark disk on grey."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    inside = np.hypot(x, y) < (9 if wanted else 6)
    return np.clip(rng.normal(200 - 70 * inside, 4), 0, 255).astype(np.uint8).tobytes()


def _write_truth(
    folder: Path, arrival_ns: npt.NDArray[np.int64], y_um: npt.NDArray[np.float64], wanted: npt.NDArray[np.bool_],
    deflected: npt.NDArray[np.bool_],
) -> None:  # fmt: skip
    (folder / TRUTH).mkdir()
    table = PartTable(folder / TRUTH / PASSED, SimulatedClock())
    kind = np.where(wanted, "white", "red").astype(object)
    table.add_rows(
        {
            "t_ns": arrival_ns,
            "kind": kind,
            "arrival_ns": arrival_ns,
            "y_um": y_um,
            "entered_ns": arrival_ns - 20 * MS,
            "deflected": deflected,
        }
    )
    table.close_part()


def _write_journal(folder: Path, latency_ms: npt.NDArray[np.float64]) -> None:
    journal = JournalWriter(folder / JOURNAL, SimulatedClock())
    journal.add(FrameReady(run="made up", header=header(um_per_px=0.5, size_px=64 * STRIPS), slot=0, seq=0))
    stack = {
        "frame_index": 0,
        "t_ns": 0,
        "skipped": 0,
        "exposed_ns": 0,
        "ends_ns": (),
        "n_sightings": 0,
        "n_in_view": 0,
    }
    journal.add(StripsSorted(run="made up", n_strips=STRIPS, **stack))  # type: ignore[arg-type]
    for k, each_ms in enumerate(latency_ms):
        command = PulseSorter(at_ns=20 * MS, width_ms=0.3)
        decision = Decision(
            command=command, reason="made up", track_id=k, deadline_ns=20 * MS, id=f"{k}.sort.0", frame_index=k,
            policy="sort",
        )  # fmt: skip
        status = "late" if each_ms > 9 else "done"
        ends_ns = (MS // 10, MS // 5, round(each_ms * MS), 20 * MS)
        outcome = Outcome(decision_id=decision.id, status=status, detail="", t_ns=20 * MS)
        journal.add(OutcomeReached(run="made up", outcome=outcome, decision=decision, exposed_ns=0, ends_ns=ends_ns))
    journal.close()
