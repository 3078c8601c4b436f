"""How well does the tracker follow cells, and how fast, beside laptrack, btrack and trackpy on the same detections?

`python -m benchmarks tracking`, or parts of it: `python -m benchmarks.tracking accuracy hela robustness speed`; `memory`
(20 minutes) runs only when it is named. Peers take part if they are installed (benchmarks/tracking_peers.py); their settings
were searched for on other seeds (benchmarks/tracking_search.py), ours are the defaults everywhere. “Live” is what a policy
sees: every frame's ids as they were given, nothing changed afterwards; “confirmed” is that without tracks that were never
confirmed; “refined” is the same recording solved again with hindsight.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from benchmarks import tracking_hela, tracking_memory, tracking_robustness, tracking_speed
from benchmarks.tables import Report
from benchmarks.tracking_contest import LIVE, OURS, Means, contest, settings_for
from benchmarks.tracking_peers import PEERS, present
from tracking.scenarios import SCENARIOS, make

ROOT = Path(__file__).parents[1]
SEEDS = (11, 12, 13)
"""Neither settings of peers nor anything of ours was chosen on them."""


@dataclass(frozen=True)
class Options:
    """What takes part."""

    data: Path = ROOT.parent / "shared" / "data"
    scenarios: tuple[str, ...] = tuple(SCENARIOS)


@dataclass(frozen=True)
class Figure:
    """One table: a figure of every contestant in every scenario."""

    title: str
    how: str
    of: Callable[[Means], float | None]
    digits: int
    sign: int = 1
    """-1: less is better."""

    def words(self, value: float | None) -> str:
        return "" if value is None else f"{value:.{self.digits}f}"


FIGURES = (
    Figure("LNK", "Links as the Cell Tracking Challenge counts them; 1 = all right.", lambda m: m.lnk, 4),
    Figure("TRA", "The Cell Tracking Challenge's tracking accuracy.", lambda m: m.tra, 4),
    Figure(
        "complete tracks", "CT: F1 of tracks that one id follows from first to last frame.", lambda m: m.complete, 3
    ),
    Figure("division F1, ± 2 frames", "At the time at which ids changed.", lambda m: m.division_f1, 3),
    Figure("identity switches", "IDSW of CLEAR MOT, a scene.", lambda m: m.switches, 1, -1),
    Figure("false divisions", "A scene.", lambda m: m.false_divisions, 1, -1),
)


def accuracy_tables(report: Report, options: Options) -> None:
    entries = {name: contest((make(name, seed) for seed in SEEDS), settings_for(name)) for name in options.scenarios}
    for figure in FIGURES:
        rows = [row for name, found in entries.items() if (row := _row(name, found, figure))]
        report.table(
            f"Tracking scenarios: {figure.title}",
            f"{figure.how} Means of seeds {', '.join(map(str, SEEDS))}; the best in bold; last column: live minus the best "
            f"peer.{present()[1]}",
            ("scenario", *OURS, *PEERS, "live ahead by"),
            rows,
        )


def _row(scenario: str, found: dict[str, Means], figure: Figure) -> tuple[str, ...] | None:
    """None if the scenario has no such figure."""
    values = {name: figure.of(means) for name, means in found.items()}
    known = {name: value for name, value in values.items() if value is not None}
    if not known:
        return None
    best = max(figure.sign * round(value, figure.digits) for value in known.values())

    def cell(name: str) -> str:
        words = figure.words(values.get(name))
        return f"**{words}**" if words and figure.sign * float(words) == best else words

    peers = [figure.sign * known[name] for name in PEERS if name in known]
    ahead = f"{figure.sign * known[LIVE] - max(peers):+.{figure.digits}f}" if peers else ""
    return scenario, *map(cell, (*OURS, *PEERS)), ahead


def hela_tables(report: Report, options: Options) -> None:
    tracking_hela.main(report, options.data)


def robustness_tables(report: Report, options: Options) -> None:
    tracking_robustness.main(report, options.data)


def speed_tables(report: Report, options: Options) -> None:
    tracking_speed.main(report)


def memory_table(report: Report, options: Options) -> None:
    tracking_memory.main(report)


PARTS = {
    "accuracy": accuracy_tables,
    "hela": hela_tables,
    "robustness": robustness_tables,
    "speed": speed_tables,
    "memory": memory_table,
}
USUAL = ("accuracy", "hela", "robustness", "speed")


def main(report: Report, options: Options | None = None, parts: Sequence[str] = USUAL) -> None:
    cv2.setNumThreads(1)
    for part in parts:
        PARTS[part](report, options or Options())


def _parser() -> argparse.ArgumentParser:
    usual = Options()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracking")
    parser.add_argument(
        "parts", nargs="*", default=list(USUAL), help=f"of {', '.join(PARTS)}; {', '.join(USUAL)} if none"
    )
    parser.add_argument("--data", type=Path, default=usual.data, help="holds tracking/mitocheck_hela_h2b")
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="all if none")
    return parser


if __name__ == "__main__":
    given = _parser().parse_args()
    main(Report(), Options(given.data, tuple(given.scenario or SCENARIOS)), given.parts)
