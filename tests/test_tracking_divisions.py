"""Divisions, live: told soon, with both daughters and a probability, and never taken back."""

from dataclasses import replace

import pytest

from tests.named_cells import HALF_UM, Spot, Watch, bystanders, moved
from tracking.tracker import CausalTracker
from tracking.tracks import TrackEvent

MITOSIS, SINCE = 4, 12
"""Frames that the mother is in mitosis, and the first frame with daughters."""
Daughters = tuple[Spot, Spot]


def mother(frame: int, x_um: float, y_um: float, mitotic: float) -> Spot:
    """She rounds up, brightens, and stands still."""
    if frame < SINCE - MITOSIS:
        return Spot(x_um, y_um, 1.2)
    return Spot(x_um, y_um, 0.95, counts=1700.0, mitotic=mitotic)


def daughters(frame: int, x_um: float, y_um: float, mitotic: float) -> Daughters:
    """They move apart and grow."""
    age = frame - SINCE
    apart_um, area = 4.3 + 0.6 * age, 0.47 + 0.03 * age
    late = Spot(x_um - apart_um, y_um, area, 1500.0, mitotic * (age < 2))
    return late, replace(late, x_um=x_um + apart_um, area=area * 1.05)


def divide(
    watch: Watch,
    x_um: float = 0.0,
    y_um: float = 0.0,
    mitotic: float = 0.9,
    missed: tuple[tuple[int, str], ...] = (),
    flicker: bool = False,
    frames: int = 8,
    columns: int = 6,
) -> Watch:
    """A cell that divides among bystanders; `missed` are cells that the segmenter does not see in a frame.

    With `flicker` the classifier does not see the mother's mitosis in her last frame, nor the daughters'.
    """
    for frame in range(SINCE + frames):
        if frame < SINCE:
            spots = {"mother": mother(frame, x_um, y_um, mitotic * (not flicker or frame < SINCE - 1))}
        else:
            one, other = daughters(frame, x_um, y_um, mitotic * (not flicker))
            spots = {"one": one, "other": other}
        for when, name in missed:
            if when == frame - SINCE:
                spots.pop(name)
        watch.see(bystanders(frame, columns=columns) | spots)
    return watch


def the_division(watch: Watch) -> TrackEvent:
    """The only one, after checking what must be true of every division."""
    (event,) = watch.told("divided")
    when = next(n for n, tracks in enumerate(watch.tracks) if event in tracks.events)
    assert event.track_id == watch.ids[0]["mother"]
    assert when - SINCE <= 2
    assert 0 <= event.late_frames <= 2
    assert 0.5 < event.confidence <= 1.0
    assert set(event.others) == {watch.ids[when]["one"], watch.ids[when]["other"]}
    tracks = watch.tracks[when]
    for daughter in event.others:
        row = tracks.row(daughter)
        assert row is not None
        assert tracks.parent[row] == event.track_id
        assert tracks.confirmed[row]
    assert all(later.row(event.track_id) is None for later in watch.tracks[when:])
    assert set(event.others) == {watch.id_of("one"), watch.id_of("other")}, "and so they remain"
    return event


@pytest.mark.parametrize("classes", [False, True])
def test_a_mother_has_two_daughters(classes: bool) -> None:
    watch = divide(Watch(classes=classes))
    event = the_division(watch)
    announced = {e.track_id for e in watch.told("born", "entered", "confirmed", since=SINCE)}
    assert len(announced & set(event.others)) <= 1, "at most the one that was waited with"
    assert not watch.told("lost", "merged", "split")


def test_who_had_her_id_meanwhile_gets_a_new_one() -> None:
    """One daughter is missed at first, and without classes it takes a look more to be sure: until then, ids stay."""
    watch = divide(Watch(classes=False), missed=((0, "one"),))
    event = the_division(watch)
    when = next(n for n, tracks in enumerate(watch.tracks) if event in tracks.events)
    assert event.late_frames == when - SINCE - 1 == 1
    assert watch.ids[SINCE]["other"] == event.track_id
    meanwhile = {watch.ids[when - 1]["one"], watch.ids[when - 1]["other"]}
    (tentative,) = meanwhile - {event.track_id}
    assert tentative in event.others, "the second one keeps its own"
    (fresh,) = set(event.others) - {tentative}
    assert watch.kinds(tentative)[0] == "born"
    assert watch.kinds(fresh) == [], "a daughter is not announced otherwise"


def test_a_daughter_is_believed_sooner_than_others() -> None:
    """The division says that she is real, although she was seen in two frames only."""
    watch = divide(Watch(CausalTracker(confirm_after=6)), missed=((0, "one"),))
    assert the_division(watch).late_frames == 1


def test_a_mitotic_class_makes_it_surer() -> None:
    by_class, without = divide(Watch(classes=True)), divide(Watch(classes=False))
    one, other = the_division(by_class), the_division(without)
    assert one.late_frames <= other.late_frames
    if one.late_frames == other.late_frames:
        assert one.confidence > other.confidence


def test_cells_that_never_were_in_mitosis_do_not_divide_easily() -> None:
    """The same cells, but the classifier says that none was ever in mitosis."""
    seen_in_mitosis, not_seen = divide(Watch(classes=True)), divide(Watch(classes=True), mitotic=0.0)
    told = not_seen.told("divided")
    assert not told or told[0].confidence < the_division(seen_in_mitosis).confidence or told[0].late_frames > 0


def test_a_class_that_flickers_is_remembered_for_a_moment() -> None:
    """In mitosis just before, the mother is likelier to divide than if she never was."""
    flickering, never = divide(Watch(classes=True), flicker=True), divide(Watch(classes=True), mitotic=0.0)
    one, other = the_division(flickering), never.told("divided")
    assert one.late_frames == 0
    assert not other or one.confidence > other[0].confidence


def test_class_names_are_a_setting() -> None:
    """The class `mitotic` is not asked for, so it says nothing for or against."""
    unnamed = divide(Watch(CausalTracker(mitotic_classes=("dividing",)), classes=True))
    without = divide(Watch(classes=False))
    assert the_division(unnamed).late_frames == the_division(without).late_frames


@pytest.mark.parametrize("missed", [((0, "one"),), ((0, "other"),), ((1, "other"),), ((-1, "mother"),)])
@pytest.mark.parametrize("classes", [False, True])
def test_the_segmenter_misses_one_of_them(missed: tuple[tuple[int, str], ...], classes: bool) -> None:
    watch = divide(Watch(classes=classes), missed=missed)
    (event,) = watch.told("divided")
    assert event.track_id == watch.ids[0]["mother"]
    assert set(event.others) == {watch.id_of("one"), watch.id_of("other")}


def test_next_to_the_edge() -> None:
    watch = divide(Watch(classes=True), x_um=HALF_UM - 12.0, columns=5)
    the_division(watch)


def test_things_that_do_not_divide() -> None:
    watch = divide(Watch(CausalTracker(divisions=False), classes=True))
    assert not watch.told("divided")
    assert (watch.tracks[-1].parent == 0).all()
    assert watch.tracks[-1].confirmed.all()


def test_two_neighbours_divide_at_once() -> None:
    watch = Watch(classes=True)
    for frame in range(SINCE + 8):
        spots: dict[str, Spot] = {}
        for n, y_um in enumerate((-11.0, 11.0)):
            if frame < SINCE:
                spots[f"mother {n}"] = mother(frame, 0.0, y_um, 0.9)
            else:
                spots[f"one {n}"], spots[f"other {n}"] = daughters(frame, 0.0, y_um, 0.9)
        watch.see(bystanders(frame) | spots)
    told = {event.track_id: set(event.others) for event in watch.told("divided")}
    assert told == {watch.ids[0][f"mother {n}"]: {watch.id_of(f"one {n}"), watch.id_of(f"other {n}")} for n in range(2)}


@pytest.mark.parametrize("classes", [False, True])
def test_a_newcomer_beside_a_cell_is_no_daughter(classes: bool) -> None:
    """Another cell is first seen next to one that stays as it is."""
    watch = Watch(classes=classes)
    for frame in range(24):
        spots = {"cell": Spot(0, 0, 1.1)} | ({"newcomer": Spot(9.5, 0, 1.0)} if frame >= 12 else {})
        watch.see(bystanders(frame) | spots)
    assert not watch.told("divided")
    assert watch.ids_of("cell") == {watch.ids[0]["cell"]}


def test_the_dying_do_not_divide() -> None:
    """A nucleus shrinks, brightens and falls into pieces."""
    watch = Watch(classes=True)
    for frame in range(24):
        size = max(1.0 - 0.08 * max(frame - 8, 0), 0.1)
        spots = {"dying": Spot(0, 0, size, 1000 / size**0.5)} if frame < 20 else {}
        if 17 <= frame < 19:
            spots["piece"] = Spot(3.0, 1.0, 0.08, 2500.0)
        watch.see(bystanders(frame) | spots)
    assert not watch.told("divided")


def test_two_that_came_as_one_do_not_divide_when_they_part() -> None:
    """Nothing is known about a cell seen so briefly but that it is large."""
    watch = Watch()
    watch.wait({})
    watch.see(bystanders(watch.frame + 1) | {"clump": Spot(0, 0, 2.0)})
    watch.wait({"one": Spot(-6, 0), "other": Spot(6, 0)}, frames=6)
    assert not watch.told("divided")


def test_daughters_do_not_divide_again_at_once() -> None:
    """One of them is seen as two from her third frame on."""
    watch = divide(Watch(), frames=3)
    for frame in range(SINCE + 3, SINCE + 6):
        one, other = daughters(frame, 0.0, 0.0, 0.0)
        pieces = {"one": moved(replace(one, area=0.27), 0, -2.6), "piece": moved(replace(one, area=0.27), 0, 2.6)}
        watch.see(bystanders(frame) | pieces | {"other": other})
    assert len(watch.told("divided")) == 1
