"""Cells keep their identity: passing each other, unseen for a while, after any interval, wherever the stage goes."""

from dataclasses import replace

import numpy as np
import pytest

from acquisition.frame import StagePosition, affine_at
from models.cells import Cells, Floats
from tests.named_cells import DIAMETER_UM, HALF_UM, INTERVAL_S, Spot, Watch, bystanders, moved, same_identities
from tracking.tracker import CausalTracker


def everybody(watch: Watch) -> list[str]:
    return list(watch.ids[0])


def runner(x_um: float, y_um: float = 0.0, counts: float = 1000.0) -> dict[str, Spot]:
    return {"runner": Spot(x_um, y_um, counts=counts)}


def test_two_cells_pass_each_other() -> None:
    """At the meeting each is nearest to the other's last place; only their directions tell them apart."""
    watch = Watch()
    for frame in range(20):
        way_um = 3.0 * frame - 28.5
        watch.see(bystanders(frame) | {"east": Spot(way_um, 2.0), "west": Spot(-way_um, -2.0)})
    assert same_identities(watch, everybody(watch))


@pytest.mark.parametrize("looks", [{"area": 1.6}, {"counts": 1900.0}], ids=["larger", "brighter"])
def test_two_cells_that_turn_round_at_each_other_are_told_apart_by_their_looks(looks: dict[str, float]) -> None:
    watch = Watch()
    for frame in range(20):
        way_um = abs(3.0 * frame - 28.5) + 3.5
        watch.see(bystanders(frame) | {"east": Spot(way_um, 0.0, **looks), "west": Spot(-way_um, 0.0)})
    assert same_identities(watch, everybody(watch))


@pytest.mark.parametrize("missed", [1, 3, 5])
def test_a_mover_is_found_again_where_it_must_be_by_now(missed: int) -> None:
    watch = Watch(CausalTracker(persistence_s=100 * INTERVAL_S))
    for frame in range(20):
        hidden = 8 <= frame < 8 + missed
        watch.see(bystanders(frame) | ({} if hidden else runner(4.0 * frame - 40)))
    assert len(watch.ids_of("runner")) == 1
    gap = watch.tracks[8 + missed - 1]
    row = gap.row(watch.id_of("runner"))
    assert row is not None
    expected_um = 4.0 * (8 + missed - 1) - 40
    assert gap.xy_um[row, 0] == pytest.approx(expected_um, abs=3 * gap.sigma_um[row])
    assert gap.missed[row] == missed


def test_the_longer_unseen_the_less_sure() -> None:
    watch = Watch()
    watch.wait(runner(0))
    sigma_um = []
    for _ in range(4):
        tracks = watch.see(bystanders(watch.frame + 1))
        row = tracks.row(watch.ids[0]["runner"])
        assert row is not None
        sigma_um.append(float(tracks.sigma_um[row]))
    assert sigma_um == sorted(sigma_um)
    assert sigma_um[-1] > 1.5 * sigma_um[0]


@pytest.mark.parametrize("seed", range(3))
def test_irregular_intervals(seed: int) -> None:
    """A steady mover that is looked at when it pleases: half the frames are dropped."""
    rng, watch = np.random.default_rng(seed), Watch()
    for frame in range(30):
        if frame > 4 and rng.random() < 0.5:
            continue
        t_s = INTERVAL_S * frame
        watch.see(bystanders(frame) | runner(3.0 * frame - 45), after_s=t_s - watch.t_s)
    assert same_identities(watch, everybody(watch))


@pytest.mark.parametrize("factor", [0.01, 0.1])
def test_a_policy_looks_faster_and_then_slower_again(factor: float) -> None:
    """A hundred times the frame rate, and back: motion is known in true time, not in frames."""
    watch, t_s, step_um_s = Watch(), 0.0, 0.06
    for frame in range(60):
        after_s = INTERVAL_S * (factor if 10 <= frame < 40 else 1)
        t_s += after_s
        watch.see(bystanders(frame) | runner(step_um_s * t_s - 60, 20 * np.sin(t_s / 2000)), after_s=after_s)
    assert same_identities(watch, everybody(watch))


def test_a_stage_that_moves_is_not_seen_by_anybody() -> None:
    """Half of the field is new each time; all that stays in view keeps its identity."""
    watch = Watch()
    for frame, x_um in enumerate([0, 0, 0, 0, 60, -60, 60, 0]):
        spots = bystanders(frame) | runner(2.0 * frame)
        watch.see({name: s for name, s in spots.items() if abs(s.x_um - x_um) < HALF_UM}, stage=(x_um, 0.0))
    assert same_identities(watch, everybody(watch))


def away_and_back(tracker: CausalTracker, frames_away: int, away_s: float) -> Watch:
    """The stage visits another place for a while; other cells are there."""
    watch = Watch(tracker)
    for _ in range(6):
        watch.see(bystanders(watch.frame + 1), after_s=1.0)
    elsewhere = {f"other {name}": moved(spot, 5000.0, 0.0) for name, spot in bystanders(99).items()}
    for _ in range(frames_away):
        watch.see(elsewhere, after_s=away_s / frames_away, stage=(5000.0, 0.0))
    watch.see(bystanders(watch.frame + 1), after_s=1.0)
    return watch


@pytest.mark.parametrize("frames_away", [1, 30])
def test_the_stage_comes_back_in_time(frames_away: int) -> None:
    watch = away_and_back(CausalTracker(max_away_s=100.0), frames_away, away_s=90.0)
    assert same_identities(watch, list(bystanders(0)))
    assert not watch.told("lost", "left"), "nobody was seen to go"


def test_the_stage_comes_back_too_late() -> None:
    watch = away_and_back(CausalTracker(max_away_s=100.0), 30, away_s=120.0)
    before, after = (set(watch.ids[frame].values()) for frame in (0, -1))
    assert not before & after
    assert {event.track_id for event in watch.told("left")} >= before
    assert not watch.told("lost")


def test_a_round_with_a_single_look_at_each_place() -> None:
    """Neighbouring places, cells up to their edges: nobody is believed yet when the stage goes on, all are found again."""
    watch, places = Watch(), [(270.0 * i, 270.0 * j) for j in range(4) for i in range(5)]
    for _ in range(3):
        for stage in places:
            spots = bystanders(watch.frame + 1, shift_um=(stage[0] + 25, stage[1] - 25))
            watch.see({f"{stage}: {name}": spot for name, spot in spots.items()}, after_s=1.0, stage=stage)
    names = sorted({name for ids in watch.ids for name in ids})
    assert same_identities(watch, names)
    assert len(watch.told("confirmed")) == len(names) == 720
    assert not watch.told("lost", "left")


def turned(cells: Cells, angle: float, flip: int) -> Cells:
    """The same cells, seen by a camera that was mounted differently: only the map to the stage says so."""
    cosine, sine = 0.5 * np.cos(angle), 0.5 * np.sin(angle)
    affine = affine_at(StagePosition(), (flip * cosine, -sine, flip * sine, cosine), (512, 512))
    return replace(cells, stage_from_pixel=affine)


@pytest.mark.parametrize(("angle", "flip"), [(np.pi / 2, 1), (np.pi, -1), (0.3, 1)])
def test_however_the_camera_is_turned(angle: float, flip: int) -> None:
    straight, other = Watch(), Watch()
    for frame in range(12):
        spots = bystanders(frame) | runner(4.0 * frame - 20)
        straight.see(spots)
        other.see(spots, looked=lambda cells: turned(cells, angle, flip))
    assert straight.ids == other.ids
    begins = ("born", "entered")  # which of them is a matter of where the field ends
    assert [e for e in straight.told() if e.kind not in begins] == [e for e in other.told() if e.kind not in begins]


@pytest.mark.parametrize("jump_um", [(14.0, 0.0), (-25.0, 30.0), (0.0, -60.0)])
def test_the_whole_specimen_jumps(jump_um: tuple[float, float]) -> None:
    """By up to six diameters, further than cells are apart: only all of them together tell where they have gone."""
    watch = Watch()
    rng = np.random.default_rng(0)
    places = rng.uniform(-60, 60, (40, 2))
    for frame in range(12):
        shift_um = np.array(jump_um) * (frame >= 6) + rng.normal(0, 0.3, (40, 2))
        spots = {f"{n}": Spot(*(places[n] + shift_um[n])) for n in range(40) if free(places, n)}
        watch.see(spots)
    assert same_identities(watch, everybody(watch))


def free(places: Floats, n: int) -> bool:
    """No earlier one is where it is."""
    return bool((np.linalg.norm(places[:n] - places[n], axis=1) > DIAMETER_UM).all())
