"""An analysis in words: events as people read them, tracks as columns that fit the label images."""

import numpy as np
import pytest

from realtime.words import event_words, track_columns
from tests.scenes import cells_at, header, scene, tracks_of
from tracking.tracks import TrackEvent


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (TrackEvent("born", 5), "born 5"),
        (TrackEvent("merged", 4, (7,)), "merged 4 7"),
        (TrackEvent("divided", 9, (17, 18), confidence=0.934, late_frames=1), "divided 9 17 18 p=0.93 late=1"),
        (TrackEvent("divided", 9, (17, 18)), "divided 9 17 18 p=1.00 late=0"),
    ],
)
def test_events_in_words(event: TrackEvent, words: str) -> None:
    assert event_words(event) == words


def test_a_track_has_its_cells_measures_and_label_and_none_while_it_coasts() -> None:
    view = header()
    cells = cells_at(view, [(0.0, 0.0), (9.0, 0.0)], area_um2=[20.0, 30.0], features={"roundness": [0.5, 0.75]})
    tracks = tracks_of(cells, [7, 4], unseen={5: ((3.0, 2.0), 1)})
    columns = {name: column.array() for name, column in track_columns(scene(view, cells, tracks)).items()}
    assert {len(column) for column in columns.values()} == {3}
    assert columns["track_id"].tolist() == [7, 4, 5]
    assert columns["label"].tolist() == [1, 2, 0]
    assert columns["confirmed"].tolist() == [1, 1, 1]
    assert columns["sigma_um"].tolist() == [1.0, 1.0, 1.0]
    np.testing.assert_array_equal(columns["area_um2"], [20.0, 30.0, np.nan])
    np.testing.assert_array_equal(columns["roundness"], [0.5, 0.75, np.nan])
    assert columns["x_um"].tolist() == [0.0, 9.0, 3.0]
