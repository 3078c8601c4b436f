"""Pictures of tracked recordings: the family tree, and tracks over an image."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from recordings import DIVIDED, GAP, LATE, lineages_of

from models.overlay import zoom_of
from realtime.offline.drawing import Drawing, Line, Words
from realtime.offline.lineage_picture import MOST_LANES, family_trees, lineage_drawing, write_lineage_pictures
from realtime.offline.track_colours import ON_DARK, ON_WHITE, SEEN, family_colour
from realtime.offline.track_picture import track_picture
from tracking.lineages import Lineages

GRANDCHILDREN = lineages_of(
    {1: ([0, 1], 0), 2: ([2, 3], 1), 3: ([2, 5], 1), 4: ([4, 5], 2), 5: ([4, 5], 2), 9: ([0], 0)}
)


def words_of(drawing: Drawing) -> list[str]:
    return [shape.text for shape in drawing.shapes if isinstance(shape, Words)]


def solid(drawing: Drawing, upright: bool) -> list[Line]:
    lines = [shape for shape in drawing.shapes if isinstance(shape, Line) and not shape.dashed and shape.width > 1]
    return [line for line in lines if (line.x0 == line.x1 and line.y0 != line.y1) == upright]


def test_a_mother_is_between_her_daughters_and_families_come_first() -> None:
    family, single = family_trees(GRANDCHILDREN)
    assert (family.founder, family.tracks, family.n_lanes) == (1, (1, 2, 4, 5, 3), 3)
    assert family.lane == {4: 0, 5: 1, 3: 2, 2: 0.5, 1: 1.25}
    assert single.tracks == (9,)


@pytest.mark.parametrize(
    ("lineages", "forks", "gaps"), [(GRANDCHILDREN, 4, 1), (LATE, 2, 0), (GAP, 0, 1), (DIVIDED, 2, 1)],
    ids=["grandchildren", "late", "gap", "divided"],
)  # fmt: skip
def test_forks_where_cells_divide_and_dashes_where_they_were_not_seen(
    lineages: Lineages, forks: int, gaps: int
) -> None:
    drawing = lineage_drawing(lineages)
    assert len(solid(drawing, upright=True)) == forks
    assert sum(isinstance(shape, Line) and shape.dashed for shape in drawing.shapes) == gaps
    assert {str(track) for track in lineages.id.tolist()} <= set(words_of(drawing))


def test_time_runs_to_the_right() -> None:
    lengths = {
        line.x1 - line.x0 for line in solid(lineage_drawing(lineages_of({1: ([0], 0), 2: ([1, 2, 3, 4, 5], 0)})), False)
    }
    assert lengths == {0.0, 720.0}, "four of five steps on 900 px; what was seen once is a dot"


def test_too_many_tracks_are_cut_and_counted() -> None:
    n = MOST_LANES + 23
    frames = np.zeros(n, np.int64)
    tracks = np.arange(1, n + 1)
    zeros = np.zeros(n)
    many = Lineages(frames, frames, tracks, tracks, np.zeros((n, 2)), zeros, zeros, tracks, np.zeros(n, np.int64))
    drawing = lineage_drawing(many)
    assert words_of(drawing)[0].endswith("not shown: 23 tracks")
    assert drawing.height < 6000


def test_the_same_drawing_as_svg_and_as_png(tmp_path: Path) -> None:
    write_lineage_pictures(tmp_path / "lineage", GRANDCHILDREN)
    drawing = lineage_drawing(GRANDCHILDREN)
    root = ElementTree.parse(tmp_path / "lineage.svg").getroot()
    kinds = [child.tag.rpartition("}")[2] for child in root]
    assert len(kinds) == 1 + len(drawing.shapes)
    dashed = [child for child in root if "stroke-dasharray" in child.attrib]
    assert len(dashed) == 1
    picture = cv2.imread(str(tmp_path / "lineage.png"))
    assert picture is not None
    assert picture.shape == (2 * drawing.height, 2 * drawing.width, 3)
    line = max(solid(drawing, upright=False), key=lambda line: line.x1 - line.x0)
    x, y = round(line.x0 + line.x1), round(line.y0 + line.y1)
    assert picture[y, x].tolist() == list(line.colour[::-1])


def test_an_empty_recording_has_a_picture_too(tmp_path: Path) -> None:
    write_lineage_pictures(tmp_path / "lineage", lineages_of({}))
    assert "tracks: 0   divisions: 0" in (tmp_path / "lineage.svg").read_text("utf-8")


@pytest.mark.parametrize("brightness", [ON_WHITE, ON_DARK])
def test_families_next_to_one_another_differ_in_colour_and_none_is_lost_on_its_ground(brightness: float) -> None:
    colours = np.array([family_colour(founder, brightness) for founder in range(1, 200)])
    assert np.allclose(colours @ SEEN / 255, brightness, atol=0.01)
    assert (np.abs(np.diff(colours, axis=0)).max(axis=1) > 60).all()


def test_tails_outlines_and_numbers_over_the_image() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[15:26, 25:36] = 5
    way_um = 0.5 * np.array([[5.0, 20.0], [30.0, 20.0]])
    tracks = replace(lineages_of({1: ([0, 1], 0)}), xy_um=way_um, label=np.array([1, 5]), area_um2=np.full(2, 30.0))
    picture = track_picture(tracks, 1, labels, np.zeros((40, 40), np.uint16), um_per_px=0.5)
    zoom = zoom_of(labels.shape)
    assert picture.shape == (40 * zoom, 40 * zoom, 3)
    family = list(family_colour(1, ON_DARK)[::-1])
    assert picture[15 * zoom, 26 * zoom].tolist() == family, "outline"
    assert picture[round(20.5 * zoom), 12 * zoom].tolist() == family, "tail"
    assert picture[round(20.5 * zoom), 2 * zoom].max() == picture[2 * zoom, 30 * zoom].max() == 0
    assert (picture[15 * zoom : 26 * zoom, 25 * zoom : 36 * zoom] == 255).all(axis=2).any(), "number"


def test_labels_stand_for_the_image_where_there_is_none() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[10:30, 10:30] = 5
    picture = track_picture(lineages_of({}), 0, labels, None, um_per_px=1.0)
    zoom = zoom_of(labels.shape)
    assert len(set(picture[20 * zoom, 20 * zoom].tolist())) == 1
    assert picture[20 * zoom, 20 * zoom, 0] > picture[2, 2, 0] == 0
