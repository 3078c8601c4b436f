"""What is lost when a recording gets worse: half the frame rate, dropped frames, missed detections. Part of tracking.py.

Half the frame rate is known beforehand: peers get settings searched for at that rate. Frames that are dropped and cells that
are missed come unexpected: all keep their settings. Ours keeps its defaults throughout. On the HeLa movie with its true masks
peers have the settings that were searched for on that very movie.
"""

from collections.abc import Callable
from pathlib import Path

from benchmarks.tables import Report
from benchmarks.tracking_contest import OURS, Means, contest, settings_for
from benchmarks.tracking_hela import MOVIE, TRUE_MASKS, detections, scenario
from benchmarks.tracking_peers import PEERS, present
from benchmarks.tracking_search import EVERY_OTHER, HALVED
from tracking.scenarios import Scenario, drop_frames, every_other, make, miss_detections

SEEDS = (1, 2, 3)
WORSE: dict[str, Callable[[Scenario], Scenario]] = {
    "as it is": lambda scene: scene,
    "every other frame": every_other,
    "10 % of frames dropped": lambda scene: drop_frames(scene, 0.1, scene.seed),
    "5 % of detections missed": lambda scene: miss_detections(scene, 0.05, scene.seed),
}


def main(report: Report, data: Path) -> None:
    scenes = {name: [make(name, seed) for seed in SEEDS] for name in HALVED}
    if (data / MOVIE).is_dir():
        with detections(data) as (seen, _):
            scenes[TRUE_MASKS] = [scenario(data, seen)]
    rows = [row for name, those in scenes.items() for row in _rows(name, those)]
    report.table(
        "Tracking worse recordings: LNK, and what was lost of it",
        f"Seeds {', '.join(map(str, SEEDS))}; in brackets the loss against the recording as it is, in thousandths of LNK, then "
        f"of TRA.{present()[1]}",
        ("recording", "made worse", *OURS, *PEERS),
        rows,
    )


def _rows(name: str, scenes: list[Scenario]) -> list[tuple[str, ...]]:
    rows = []
    before: dict[str, Means] = {}
    for what, worsen in WORSE.items():
        halved = settings_for(name + EVERY_OTHER) if worsen is every_other else {}
        found = contest([worsen(scene) for scene in scenes], halved or settings_for(name))
        before = before or found
        rows.append((name, what, *(_cell(found.get(who), before.get(who)) for who in (*OURS, *PEERS))))
    return rows


def _cell(now: Means | None, before: Means | None) -> str:
    if now is None or before is None:
        return ""
    if now is before:
        return f"{now.lnk:.4f}"
    return f"{now.lnk:.4f} ({1000 * (before.lnk - now.lnk):+.1f}, {1000 * (before.tra - now.tra):+.1f})"


if __name__ == "__main__":
    main(Report(), Path(__file__).parents[2] / "shared" / "data")
