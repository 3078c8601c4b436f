"""The best settings of every peer for every scenario: found by a search on seeds of its own, kept in tracking_found.toml.

    python -m benchmarks.tracking_search [SCENARIO …]        # an hour for all; tracking_hela.py has the movie's own

Every peer gets as many trials a scenario. It begins with its published settings and with what the table holds of it for any
scenario, so that a further run goes on from there. Then one setting after the other, those that matter most first, is tried with
all of its choices while the best of the others are kept, round and round. A trial's worth is the mean of TRA, LNK, complete
tracks and, where cells divide and the peer can say so, division F1 (± 2 frames), over the search's seeds. The table here comes
from a run of 60 trials and one of 24, of which the better settings were kept; laptrack's for `crowd` go back to a start that an
earlier search had drawn at random. Ours has no such search: it runs with its defaults everywhere.
"""

import argparse
import itertools
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec
import tomli_w

from benchmarks.tracking_btrack import BtrackSettings
from benchmarks.tracking_peers import PEERS, AnySettings, present, track_by
from realtime.offline.tracking_scores import TrackingScores, score_detections
from tracking.scenarios import SCENARIOS, Scenario, every_other, make

FOUND = Path(__file__).with_name("tracking_found.toml")
SEEDS = (9001, 9002)
"""Never scored in benchmarks/tracking.py."""
N_TRIALS = 60
"""Of each peer in each scenario, besides its published settings and those of the table."""
HOPELESS = 0.01
"""Settings so far behind the best on the first seed are not tried on the others."""
HALVED = ("walkers", "dividing", "everything")
"""Scenarios that are searched for at half the frame rate as well, for tracking_robustness.py."""
EVERY_OTHER = ", every other frame"
"""Follows the name of such a scenario."""
SEARCH_OPTIMISER_S = 2.0
"""btrack's optimiser gets less time in the search than its default of a minute: settings that it cannot solve are lost."""

Choices = Mapping[str, Sequence[Any]]
SPACES: dict[str, Choices] = {
    "laptrack": {
        "split_reach_um": (0, 6, 8, 10, 12, 15, 20),
        "reach_um": (4, 6, 8, 10, 12, 15, 20, 25),
        "area_um": (0, 2, 4, 8, 16),
        "intensity_um": (0, 2, 4, 8, 16),
        "gap_reach_um": (0, 4, 6, 8, 10, 12, 15, 20),
        "gap_frames": (2, 3, 4, 6),
        "split_area_um": (0, 3, 6, 10, 15, 25),
        "least_sightings": (1, 2, 3),
        "percentile": (50, 75, 90, 100),
    },
    "trackpy": {
        "reach_um": (4, 6, 8, 10, 12, 15, 20, 25),
        "area_um": (0, 2, 4, 8, 16),
        "intensity_um": (0, 2, 4, 8, 16),
        "memory": (0, 1, 2, 3, 5),
        "predictor": ("none", "nearest", "drift"),
        "span": (1, 2, 4),
        "least_sightings": (1, 2, 3),
    },
    "btrack": {
        "px_per_um": (1, 2, 3),
        "search_px": (20, 40, 60, 100),
        "visual": (False, True),
        "accuracy": (4, 7.5, 10),
        "process_sigma_px": (3, 7, 15),
        "not_assigned": (0.001, 0.01, 0.1),
        "dist_thresh_px": (15, 25, 40, 60),
        "lambda_link": (5, 10, 20, 40),
        "lambda_branch": (2, 5, 10, 20, 50),
        "anaphase_share": (0, 0.55, 0.7),
        "least_sightings": (1, 2, 3),
        "max_lost": (1, 2, 3, 5),
        "time_thresh": (2, 3, 5),
        "miss_rate": (0.001, 0.01, 0.1),
        "divisions": (True, False),
        "relax": (True, False),
        "lambda_dist": (3, 10, 30),
        "start_sigma_px": (50, 150),
        "measurement_sigma_px": (1, 2, 5),
    },
}
"""Lengths are chosen around a nucleus of 15 µm; see tracking_peers.py for what they mean."""

Score = Callable[[AnySettings, float], float]
"""Worth of settings; what cannot reach the second argument any more may be given up."""


def trials(peer: str, score: Score, most: int = N_TRIALS) -> tuple[AnySettings, float]:
    """The best settings found, and their worth."""
    known = [PEERS[peer][1](), *(settings[peer] for settings in found().values() if peer in settings)]
    best, worth = known[0], score(known[0], 0.0)
    for settings in known[1:]:
        if worth < 1 and (other := score(settings, worth)) > worth:
            best, worth = settings, other
    tried = set(known)
    limit = len(tried) + most
    for name, choice in itertools.islice(_round_and_round(SPACES[peer]), 20 * most):
        settings = msgspec.structs.replace(best, **{name: choice})
        if settings in tried or len(tried) == limit or worth >= 1:
            continue
        tried.add(settings)
        if (other := score(settings, worth)) > worth:
            best, worth = settings, other
    return best, worth


def _round_and_round(space: Choices) -> Iterator[tuple[str, Any]]:
    """Every setting with every choice, again and again."""
    return itertools.cycle([(name, choice) for name, choices in space.items() for choice in choices])


def worth(figures: TrackingScores, divides: bool) -> float:
    """The mean of the figures that the benchmark compares."""
    divisions = (figures.divisions[2].f1,) if divides else ()
    return fmean((figures.graph.tra, figures.graph.lnk or 0.0, figures.complete.f1, *divisions))


def search(peer: str, scenarios: Sequence[Scenario], most: int = N_TRIALS) -> tuple[AnySettings, float]:
    """Over several seeds of one scenario."""
    divides = peer != "trackpy" and any(scenario.truth.divisions() for scenario in scenarios)

    def score(settings: AnySettings, best: float) -> float:
        reached: list[float] = []
        for scenario in scenarios:
            lineages = track_by(peer, scenario.frames, quick(settings))
            reached.append(worth(score_detections(scenario.truth, lineages), divides))
            if fmean(reached) < best - HOPELESS:
                break
        return fmean(reached)

    return trials(peer, score, most)


def quick(settings: AnySettings) -> AnySettings:
    """The same settings, with less time for btrack's optimiser."""
    if isinstance(settings, BtrackSettings):
        return msgspec.structs.replace(settings, optimiser_s=SEARCH_OPTIMISER_S)
    return settings


def found() -> dict[str, dict[str, AnySettings]]:
    """Settings by scenario and peer, as the search left them: the table has what differs from the published ones."""
    tables = tomllib.loads(FOUND.read_text(encoding="utf-8")) if FOUND.is_file() else {}
    return {
        scenario: {peer: msgspec.convert(table, PEERS[peer][1]) for peer, table in peers.items()}
        for scenario, peers in tables.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracking_search")
    parser.add_argument("scenarios", nargs="*", default=[*SCENARIOS, *(name + EVERY_OTHER for name in HALVED)])
    parser.add_argument("--peer", action="append", choices=list(PEERS))
    parser.add_argument("--trials", type=int, default=N_TRIALS)
    options = parser.parse_args()
    for name in options.scenarios:
        scenarios = [scene(name, seed) for seed in SEEDS]
        for peer in options.peer or present()[0]:
            keep(name, peer, *search(peer, scenarios, options.trials))


def scene(name: str, seed: int) -> Scenario:
    """A scenario by name, at half its rate if the name says so."""
    made = make(name.removesuffix(EVERY_OTHER), seed)
    return every_other(made) if name.endswith(EVERY_OTHER) else made


def keep(scenario: str, peer: str, settings: AnySettings, reached: float) -> None:
    """Writes what was found for one peer and scenario into the table, beside what is there."""
    print(f"{scenario}, {peer}: {reached:.4f} with {settings}", flush=True)
    tables = tomllib.loads(FOUND.read_text(encoding="utf-8")) if FOUND.is_file() else {}
    published = msgspec.to_builtins(PEERS[peer][1]())
    changed = {name: value for name, value in msgspec.to_builtins(settings).items() if value != published[name]}
    tables.setdefault(scenario, {})[peer] = changed
    FOUND.write_text(tomli_w.dumps(tables), encoding="utf-8")


if __name__ == "__main__":
    main()
