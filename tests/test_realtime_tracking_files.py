"""Formats of tracked recordings but the challenge's: what is written is read again, and others' checks accept it."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import (
    DIVIDED,
    GAP,
    LATE,
    N_FRAMES,
    SHAPE,
    S,
    assert_same,
    lineages_of,
    recordings,
    same_folder,
    slow_files,
)  # fmt: skip

from realtime.offline.geff_files import read_geff, write_geff
from realtime.offline.track_segments import edges_of
from realtime.offline.track_table import read_track_table, write_track_table
from realtime.offline.trackmate_files import ImageInfo, write_trackmate
from realtime.plugins import ConfigError
from tracking.lineages import Lineages

# --- GEFF -----------------------------------------------------------------------------------------------------


@slow_files
@given(recordings(), st.booleans())
def test_geff_round_trip(tmp_path: Path, lineages: Lineages, solved_again: bool) -> None:
    from geff.core_io import read_to_memory
    from geff.validate.data import ValidationConfig

    expected = replace(lineages, live_id=lineages.track + 100) if solved_again else lineages
    write_geff(tmp_path / "tracks.geff", expected)
    assert_same(read_geff(tmp_path / "tracks.geff"), expected)
    read_to_memory(tmp_path / "tracks.geff", data_validation=ValidationConfig(graph=True, lineage=True, tracklet=True))


def test_a_graph_of_another_program(tmp_path: Path) -> None:
    import geff_spec
    from geff.core_io import write_arrays

    axes = [geff_spec.Axis(name="frame", type="time", unit="frame")]
    axes += [geff_spec.Axis(name=name, type="space", unit="micrometer") for name in ("pos_y", "pos_x")]
    columns = {"frame": np.array([0, 1, 2, 2]), "pos_y": np.arange(4.0), "pos_x": np.arange(4.0) + 10}
    props: Any = {name: {"values": values, "missing": None} for name, values in columns.items()}
    nodes, edges = np.array([40, 10, 30, 20], np.uint64), np.array([[40, 10], [10, 30], [10, 20]], np.uint64)
    metadata = geff_spec.GeffMetadata(directed=True, axes=axes, node_props_metadata={}, edge_props_metadata={})
    write_arrays(tmp_path / "other.geff", nodes, props, edges, {}, metadata)
    found = read_geff(tmp_path / "other.geff", interval_s=2)
    assert list(found.divisions().values()) == [[2, 3]]
    assert found.xy_um[:2].tolist() == [[10, 0], [11, 1]]
    assert found.t_ns.tolist() == [0, 2 * S, 4 * S, 4 * S]
    merged = np.array([[40, 10], [10, 30], [40, 30]], np.uint64)
    write_arrays(tmp_path / "merged.geff", nodes, props, merged, {}, metadata)
    with pytest.raises(ConfigError, match="1 nodes have more than one node before them"):
        read_geff(tmp_path / "merged.geff")


def test_what_is_no_graph_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist; a GEFF is a folder"):
        read_geff(tmp_path / "none.geff")
    with pytest.raises(ConfigError, match="cannot be read as GEFF"):
        read_geff(tmp_path)


# --- parquet --------------------------------------------------------------------------------------------------


@same_folder
@given(recordings(), st.booleans())
def test_parquet_round_trip(tmp_path: Path, lineages: Lineages, solved_again: bool) -> None:
    expected = replace(lineages, live_id=lineages.track + 100) if solved_again else lineages
    write_track_table(tmp_path / "tracks.parquet", expected)
    assert_same(read_track_table(tmp_path / "tracks.parquet"), expected)


def test_a_session_s_table_counts_what_was_seen_and_the_parent_known_at_last(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    columns: dict[str, list[Any]] = {
        "frame_index": [0, 3, 3, 4, 4], "t_ns": [0, 30, 30, 40, 40], "track_id": [1, 1, 2, 2, 4],
        "parent_id": [0, 0, 0, 1, 9], "x_um": [1.0, 2, 3, 4, 5], "y_um": [0.0] * 5, "vx_um_s": [0.0] * 5,
        "area_um2": [5.0, float("nan"), 5, 5, 5], "mean_intensity": [5.0, float("nan"), 5, 5, 5],
    }  # fmt: skip
    folder = tmp_path / "tracks.parquet"
    folder.mkdir()
    for part, rows in enumerate((slice(3, 5), slice(0, 3))):
        table = pyarrow.table({name: values[rows] for name, values in columns.items()})
        parquet.write_table(table, folder / f"part-{part:06d}.parquet")
    found = read_track_table(folder)
    assert found.track.tolist() == [1, 2, 2, 4], "track 1 coasts in frame 3"
    assert found.parent.tolist() == [0, 1, 0], "9 was never seen"
    assert found.label.tolist() == [0, 0, 0, 0], "sessions before labels were recorded"


def test_tables_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        read_track_table(tmp_path / "tracks.parquet")
    (tmp_path / "tracks.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(ConfigError, match="cannot be read as parquet"):
        read_track_table(tmp_path / "tracks.parquet")


# --- TrackMate ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lineages", [LATE, GAP, DIVIDED], ids=["late", "gap", "divided"])
def test_trackmate_finds_all_that_its_reader_asks_for(lineages: Lineages, tmp_path: Path) -> None:
    write_trackmate(tmp_path / "t.xml", lineages, ImageInfo(SHAPE, N_FRAMES, 0.5, 60.0))
    root = ElementTree.parse(tmp_path / "t.xml").getroot()
    assert (root.tag, root.attrib["version"].split(".")[0]) == ("TrackMate", "7")
    for path in (
        "Model/FeatureDeclarations/SpotFeatures", "Model/FeatureDeclarations/EdgeFeatures", "Model/AllSpots",
        "Model/FeatureDeclarations/TrackFeatures", "Model/AllTracks", "Model/FilteredTracks", "Settings/ImageData",
        "Settings/BasicSettings", "Settings/DetectorSettings", "Settings/InitialSpotFilter", "Settings/TrackerSettings",
        "Settings/SpotFilterCollection", "Settings/TrackFilterCollection", "Settings/AnalyzerCollection/SpotAnalyzers",
        "Settings/AnalyzerCollection/EdgeAnalyzers", "Settings/AnalyzerCollection/TrackAnalyzers", "GUIState",
    ):  # fmt: skip
        assert root.find(path) is not None, path
    spots = {spot.attrib["ID"]: spot for spot in root.iter("Spot")}
    declared = {feature.attrib["feature"] for feature in root.iterfind("Model/FeatureDeclarations/SpotFeatures/*")}
    for spot in spots.values():
        assert {float(value) for key, value in spot.attrib.items() if key not in ("ID", "name")}, "all are numbers"
        assert set(spot.attrib) - {"ID", "name"} <= declared
    edges = {(int(e.attrib["SPOT_SOURCE_ID"]), int(e.attrib["SPOT_TARGET_ID"])) for e in root.iter("Edge")}
    assert edges == set(map(tuple, edges_of(lineages).tolist()))
    tracks = [track.attrib["TRACK_ID"] for track in root.iter("Track")]
    assert tracks == [chosen.attrib["TRACK_ID"] for chosen in root.iter("TrackID")]
    assert all(earlier != later for earlier, later in pairwise(tracks))


def test_trackmate_places_spots_in_um_and_seconds_from_its_image_s_corner(tmp_path: Path) -> None:
    moved = replace(DIVIDED, xy_um=DIVIDED.xy_um - [100.0, 7.0])
    write_trackmate(tmp_path / "t.xml", moved, ImageInfo.around(moved))
    root = ElementTree.parse(tmp_path / "t.xml").getroot()
    spots = [spot.attrib for spot in root.iter("Spot")]
    x_um = np.array([float(spot["POSITION_X"]) for spot in spots])
    np.testing.assert_allclose(x_um, DIVIDED.xy_um[:, 0] - DIVIDED.xy_um[:, 0].min())
    assert [float(spot["POSITION_T"]) for spot in spots] == (DIVIDED.frame * 60.0).tolist()
    image = root.find("Settings/ImageData")
    assert image is not None
    assert (image.attrib["timeinterval"], image.attrib["nframes"]) == ("60.0", str(N_FRAMES))
    assert root.attrib.keys() == {"version"}
    model = root.find("Model")
    assert model is not None
    assert model.attrib == {"spatialunits": "µm", "timeunits": "s"}


def test_nothing_tracked_is_written_and_read_too(tmp_path: Path) -> None:
    nothing = lineages_of({})
    write_geff(tmp_path / "t.geff", nothing)
    assert len(read_geff(tmp_path / "t.geff")) == 0
    write_track_table(tmp_path / "t.parquet", nothing)
    assert len(read_track_table(tmp_path / "t.parquet")) == 0
    write_trackmate(tmp_path / "t.xml", nothing, ImageInfo.around(nothing))
