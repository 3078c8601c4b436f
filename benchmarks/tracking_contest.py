"""Who takes part in benchmarks/tracking.py, and what each one's answer is worth: a mean over seeds."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.tracking_answers import only_tracks
from benchmarks.tracking_peers import AnySettings, present, track_by
from benchmarks.tracking_search import found
from models.cells import Cells
from realtime.offline.tracking_scores import TrackingScores, score_detections
from tracking.lineages import Lineages, LineagesWriter
from tracking.refine import refine
from tracking.scenarios import Scenario
from tracking.tracker import CausalTracker

Contestant = Callable[[Sequence[Cells]], Lineages]
LIVE, CONFIRMED, REFINED = OURS = "ours, live", "ours, confirmed", "ours, refined"


def live(frames: Sequence[Cells]) -> Lineages:
    """Ids as they were given, frame by frame, by a tracker with its defaults."""
    return _live(frames)[0]


def confirmed(frames: Sequence[Cells]) -> Lineages:
    """The same without tracks that were never confirmed: what a policy sees that asks for it, as peers' `least_sightings`."""
    return only_tracks(*_live(frames))


def refined(frames: Sequence[Cells]) -> Lineages:
    """Solved again with hindsight."""
    return refine(live(frames))


def _live(frames: Sequence[Cells]) -> tuple[Lineages, set[int]]:
    """With the tracks that were confirmed at some time."""
    tracker, writer = CausalTracker(), LineagesWriter()
    believed: set[int] = set()
    for cells in frames:
        tracks = tracker.update(cells)
        writer.add(cells, tracks)
        believed.update(tracks.id[tracks.confirmed].tolist())
    return writer.lineages(), believed


def contestants(settings: dict[str, AnySettings]) -> dict[str, Contestant]:
    """Ours, and those peers that are installed and have settings."""
    peers = {name: peer(name, settings[name]) for name in present()[0] if name in settings}
    return {LIVE: live, CONFIRMED: confirmed, REFINED: refined} | peers


def peer(name: str, settings: AnySettings) -> Contestant:
    return lambda frames: track_by(name, frames, settings)


def settings_for(scenario: str) -> dict[str, AnySettings]:
    """Settings of every peer, found by the search."""
    return found().get(scenario, {})


# --- figures -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Means:
    """Of several seeds."""

    tra: float
    lnk: float
    complete: float
    """F1 of tracks that one id follows from the first frame to the last: the Challenge's CT."""
    division_f1: float | None
    """± 2 frames, all seeds pooled; None where no cell divides."""
    false_divisions: float
    switches: float


def means(scores: Sequence[TrackingScores]) -> Means:
    divisions = sum((s.divisions[2] for s in scores[1:]), scores[0].divisions[2])
    return Means(
        tra=fmean(s.graph.tra for s in scores),
        lnk=fmean(s.graph.lnk or 0.0 for s in scores),
        complete=fmean(s.complete.f1 for s in scores),
        division_f1=divisions.f1 if divisions.found + divisions.missed else None,
        false_divisions=divisions.invented / len(scores),
        switches=fmean(s.identity_switches for s in scores),
    )


def contest(scenarios: Iterable[Scenario], settings: dict[str, AnySettings]) -> dict[str, Means]:
    """All contestants on the same scenes."""
    scenes = list(scenarios)
    return {
        name: means([score_detections(scene.truth, track(scene.frames)) for scene in scenes])
        for name, track in contestants(settings).items()
    }
