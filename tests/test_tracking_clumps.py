"""Mistakes of the segmenter: two cells seen as one, one cell seen as two; neither makes a division or another identity."""

import numpy as np
import pytest

from tests.named_cells import Spot, Watch, bystanders, same_identities

APART_UM = 9.0


def pair(apart_um: float = APART_UM, areas: tuple[float, float] = (1.1, 0.9)) -> dict[str, Spot]:
    return {"left": Spot(-apart_um / 2, 0, areas[0]), "right": Spot(apart_um / 2, 0, areas[1])}


def clump(areas: tuple[float, float] = (1.1, 0.9)) -> dict[str, Spot]:
    """Both as one: their summed area, in the middle between them."""
    total = sum(areas)
    return {"clump": Spot(APART_UM / 2 * (areas[1] - areas[0]) / total, 0, total)}


def seen_as_one(frames: int, after: dict[str, Spot] | None = None, classes: bool = False) -> Watch:
    watch = Watch(classes=classes)
    watch.wait(pair())
    for _ in range(frames):
        watch.see(bystanders(watch.frame + 1) | clump())
    watch.wait(pair() if after is None else after, frames=6)
    return watch


@pytest.mark.parametrize("frames", [1, 3, 8])
def test_two_seen_as_one_are_the_same_two_afterwards(frames: int) -> None:
    watch = seen_as_one(frames)
    assert same_identities(watch, ["left", "right"])
    left, right = watch.id_of("left"), watch.id_of("right")
    assert [(e.kind, e.track_id, e.others) for e in watch.told("merged", "split")] == [
        ("merged", right, (left,)), ("split", right, (left,)),
    ]  # fmt: skip
    assert not watch.told("divided", "lost", "left")


def test_the_hidden_one_coasts_and_the_larger_one_has_the_cell() -> None:
    watch = seen_as_one(4)
    left, right = watch.id_of("left"), watch.id_of("right")
    for tracks, ids in zip(watch.tracks, watch.ids, strict=True):
        if "clump" in ids:
            assert ids["clump"] == left
            row = tracks.row(right)
            assert row is not None
            assert tracks.missed[row] > 0
            assert tracks.xy_um[row] == pytest.approx([APART_UM / 2, 0], abs=3.0)
            assert tracks.sigma_um[row] < 2 * watch.tracks[7].sigma_um[row], "it is seen with the clump"


def test_a_clump_that_walks_takes_both_along() -> None:
    watch = Watch()
    watch.wait(pair())
    for step in range(10):
        (one,) = clump().values()
        watch.see(bystanders(watch.frame + 1, columns=3) | {"clump": Spot(one.x_um + 2.0 * step, one.y_um, one.area)})
    for step in range(10, 14):
        apart = {name: Spot(s.x_um + 2.0 * step, s.y_um, s.area) for name, s in pair().items()}
        watch.see(bystanders(watch.frame + 1, columns=3) | apart)
    assert same_identities(watch, ["left", "right"])


def test_a_clump_at_whose_place_only_one_is_left() -> None:
    """One has died in the clump: the other goes on, and one of them is lost at last."""
    watch = seen_as_one(4, after={"left": pair()["left"]})
    for _ in range(30):
        watch.see(bystanders(watch.frame + 1) | {"left": pair()["left"]})
    assert watch.ids_of("left") == {watch.ids[0]["left"]}
    assert [event.track_id for event in watch.told("lost")] == [watch.ids[0]["right"]]
    assert not watch.told("divided")


def test_a_neighbour_that_vanishes_is_not_in_a_cell_that_did_not_grow() -> None:
    watch = Watch()
    watch.wait(pair())
    for _ in range(8):
        watch.see(bystanders(watch.frame + 1) | {"left": pair()["left"]})
    assert not watch.told("merged")
    assert [event.track_id for event in watch.told("lost")] == [watch.ids[0]["right"]]


@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.parametrize("share", [0.5, 0.35])
@pytest.mark.parametrize("frames", [1, 2])
def test_one_cut_in_two_is_itself_afterwards(frames: int, share: float, classes: bool) -> None:
    watch = Watch(classes=classes)
    watch.wait({"cell": Spot(0, 0, 1.2)})
    for _ in range(frames):
        halves = {
            "cell": Spot(-2.1 * 2 * share, 0, 1.2 * (1 - share)),
            "half": Spot(2.1 * 2 * (1 - share), 0, 1.2 * share),
        }
        watch.see(bystanders(watch.frame + 1) | halves)
    watch.wait({"cell": Spot(0, 0, 1.2)}, frames=8)
    assert watch.ids[-1]["cell"] == watch.ids[0]["cell"]
    assert not watch.told("divided", "split")
    assert frames > 1 or not watch.told("merged"), "a half seen once was never believed"


def test_a_cell_that_flickers_between_one_and_two() -> None:
    watch, rng = Watch(), np.random.default_rng(0)
    watch.wait({"cell": Spot(0, 0, 1.2)})
    for _ in range(30):
        halves = {"cell": Spot(-2.1, 0, 0.62), "half": Spot(2.1, 0, 0.58)}
        watch.see(bystanders(watch.frame + 1) | (halves if rng.random() < 0.3 else {"cell": Spot(0, 0, 1.2)}))
    assert watch.ids[-1]["cell"] == watch.ids[0]["cell"]
    assert not watch.told("divided")
