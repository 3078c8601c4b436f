"""What else cells are known by: a cue that tells nothing costs nothing; appearance and overlap tell the alike apart."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from models.cells import Cells, Floats
from tests.named_cells import Spot, Watch, bystanders, same_identities, with_labels
from tests.scenes import cells_at, header
from tracking.cues import CHANGED, ELSEWHERE, FIRST_WITHIN, Cues, cost, looks_of, spread
from tracking.tracker import CausalTracker

DIFFERENCES = np.linspace(0, 3, 61)
NAMES = ("area", "intensity", "class", "overlap", "embedding")
N = len(NAMES)


def costs(cue: int, within: float, between: float) -> Floats:
    """Of DIFFERENCES in one cue, while the others are not known."""
    told = np.full((DIFFERENCES.size, N), np.nan)
    told[:, cue] = DIFFERENCES
    this = np.arange(N) == cue
    weights = Cues(np.where(this, within, 0.1), np.where(this, between, 1.0)).weights()
    return np.array([cost(differences, *weights) for differences in told])


@pytest.mark.parametrize("cue", range(N), ids=NAMES)
def test_a_cue_that_does_not_tell_cells_apart_costs_nothing(cue: int) -> None:
    """One cell changes as much from frame to frame as two cells differ; or nothing is measured."""
    assert (costs(cue, within=0.5, between=0.5) == 0).all()
    assert (costs(cue, within=0.5, between=0.1) == 0).all()
    assert (costs(cue, within=0.5, between=0.0) == 0).all()


@pytest.mark.parametrize("cue", range(N), ids=NAMES)
def test_a_cue_that_tells_speaks_for_likeness_and_never_too_loud(cue: int) -> None:
    told = costs(cue, within=0.1, between=0.8)
    assert told[0] < 0 < told[-1]
    assert (np.diff(told) >= 0).all(), "less alike, less likely"
    assert told.max() <= 2 * max(CHANGED, ELSEWHERE)


def test_what_is_not_known_costs_nothing() -> None:
    assert cost(np.full(N, np.nan), *Cues(FIRST_WITHIN, np.ones(N)).weights()) == 0


def test_equal_cells_do_not_differ() -> None:
    cells = cells_at(header(), [(0, 0), (50, 0), (0, 50), (50, 50)], area_um2=[30.0] * 4)
    assert (spread(cells, looks_of(cells)) == 0).all()


def test_cells_of_which_no_intensity_is_known_are_told_apart_by_the_rest() -> None:
    """Label images without images."""
    watch = Watch()
    for frame in range(12):
        watch.see(bystanders(frame), looked=lambda cells: replace(cells, mean_intensity=np.full(len(cells), np.nan)))
    assert same_identities(watch, list(watch.ids[0]))


def test_how_much_a_cue_varies_is_learned() -> None:
    rng, cues = np.random.default_rng(0), Cues(FIRST_WITHIN, np.zeros(N))
    for _ in range(100):
        differences = np.full((N, 200), np.nan)
        differences[1] = np.abs(rng.normal(0, 0.31, 200))
        cues = cues.learned(differences, np.full(N, 0.7), 0.1)
    assert cues.within[1] == pytest.approx(0.31, rel=0.1)
    assert np.delete(cues.within, 1) == pytest.approx(np.delete(FIRST_WITHIN, 1)), "nothing was seen of the others"
    assert cues.between == pytest.approx(0.7, rel=0.01)


def with_embedding(cells: Cells, names: list[str], rng: np.random.Generator) -> Cells:
    """Each cell has looks of its own, seen with some noise."""
    own = [np.random.default_rng(list(name.encode())).normal(0, 1, 8) for name in names]
    noisy = np.array(own) + rng.normal(0, 0.2, (len(names), 8))
    return replace(cells, embedding=noisy.astype(np.float32))


@pytest.mark.parametrize("embedded", [True, False])
def test_appearance_tells_two_equal_cells_apart(embedded: bool) -> None:
    """Of cells this fast, two may well have changed places; by places alone it looks as if they had stood still."""
    watch, rng = Watch(CausalTracker(speed_um_s=0.1)), np.random.default_rng(0)
    for frame in range(16):
        way_um = 4.0 if frame < 10 else -4.0
        spots = bystanders(frame) | {"east": Spot(way_um, 0.0), "west": Spot(-way_um, 0.0)}
        dress = partial(with_embedding, names=list(spots), rng=rng) if embedded else lambda cells: cells
        watch.see(spots, looked=dress)
    assert same_identities(watch, ["east", "west"]) is embedded


@pytest.mark.parametrize("given", ["nnee", "-nee", "--ee", "een-e"], ids=" ".join)
def test_an_embedding_may_come_later(given: str) -> None:
    """e: with one, n: without, -: no cells, of which nobody can have one."""
    watch, rng = Watch(), np.random.default_rng(0)
    for frame, what in enumerate(given):
        spots = {} if what == "-" else bystanders(frame)
        dress = partial(with_embedding, names=list(spots), rng=rng) if what == "e" else lambda cells: cells
        watch.see(spots, looked=dress)
    assert len(watch.tracks[-1]) == len(set().union(*(ids.values() for ids in watch.ids))) == 36


@pytest.mark.parametrize("labelled", [True, False])
def test_overlap_tells_rods_apart_that_slide_past_each_other(labelled: bool) -> None:
    """They slide by 4.4 µm and are 3 µm apart: the nearest centre is the other one's, but each covers itself."""
    watch = Watch()
    for frame in range(9):
        x_um = 2.2 if frame < 6 else -2.2
        spots = bystanders(frame) | {"a": Spot(x_um, 0.0, 2.0, length_um=60), "b": Spot(-x_um, 3.0, 2.0, length_um=60)}
        watch.see(spots, looked=partial(with_labels, spots=spots) if labelled else lambda cells: cells)
    assert same_identities(watch, ["a", "b"]) is labelled
