"""The light of a run in its session: counted from the journal alone, and drawn as a map that others can open."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from acquisition.dose_map import DoseMap, j_cm2
from realtime.config import load_config
from realtime.inline import InlineRun, inline_run
from realtime.session.header import session_toml
from realtime.session.journal import read_journal
from realtime.session.light_account import DOSE_MAP, settings_in, write_dose_map
from realtime.session.summary import Summary, summarise, summarise_if_missing
from realtime.wire import AnyMessage, FrameAnalysed, FrameReady, InferenceEnded, InferenceStarted, RunEnded
from tests.scenes import header
from tests.tiny_config import write_tiny

RUN = "run-a"
FIELD_UM2 = 64.0**2
OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"


def story() -> Iterator[AnyMessage]:
    """Two frames here and one 100 µm further on, in two channels; of five cells two are tracked to the end."""
    yield InferenceStarted(run=RUN, pid=1, perception="p", frame_px=(128, 128))
    for index, (x_um, channel) in enumerate([(0.0, "gfp"), (0.0, "gfp"), (100.0, "rfp")]):
        frame = header(index, (x_um, 0.0), size_px=64, um_per_px=0.5, channel=channel)
        yield FrameReady(run=RUN, header=frame, slot=0, seq=index, dose_mj=0.1 * (index + 1))
    for index in range(3):
        yield FrameAnalysed(
            run=RUN, frame_index=index, t_ns=0, skipped=0, exposed_ns=0, ends_ns=(), n_cells=0, n_tracks=0,
            unbleached=1.0 - 0.1 * index, ended_j_cm2=(float(index),),
        )  # fmt: skip
    yield InferenceEnded(run=RUN, n_analysed=3, cell_j_cm2=(3.0, 4.0))
    yield RunEnded(run=RUN, reason="as asked", ok=True, figures={"dose_mj": 0.35})


def test_the_summary_says_what_the_sample_its_places_and_its_cells_have_had() -> None:
    summary = Summary()
    for message in story():
        summary.add(message)
    account = summary.as_dict()
    light = account["light"]
    assert account["dose_mj"] == light["total_mj"], "one number"
    assert light == {
        "total_mj": pytest.approx(0.35),
        "most_j_cm2": pytest.approx(j_cm2(0.2, FIELD_UM2)),
        "cells": 5,
        "cells_j_cm2": {"median": 2.0, "p95": pytest.approx(3.8), "max": 4.0},
        "unbleached": {"gfp": 0.9, "rfp": 0.8},
    }
    assert summary.light.map.at(100.0, 0.0) == pytest.approx(j_cm2(0.15, FIELD_UM2)), (
        "with what fell after the last frame"
    )


def test_light_of_a_run_without_a_frame_is_counted_and_lies_nowhere() -> None:
    summary = Summary()
    summary.add(RunEnded(run=RUN, reason="no frame", ok=False, figures={"dose_mj": 0.4}))
    assert summary.as_dict()["dose_mj"] == 0.4
    assert summary.light.map.highest_j_cm2 == 0.0


def test_the_map_can_be_opened_with_its_place_and_scale(tmp_path: Path) -> None:
    dose_map = DoseMap(10.0)
    dose_map.add((-100.0, 1300.0), (-91.0, 1309.0), 2.5)
    write_dose_map(tmp_path, dose_map)
    with tifffile.TiffFile(tmp_path / DOSE_MAP) as file:
        image, metadata = file.asarray(), ElementTree.fromstring(file.ome_metadata or "")
    pixels, plane = metadata.find(f".//{OME}Pixels"), metadata.find(f".//{OME}Plane")
    assert pixels is not None
    assert plane is not None
    assert (pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeXUnit")) == ("10.0", "µm")
    row, column = np.argwhere(image == 2.5)[0]
    assert float(plane.get("PositionX", "")) + 10.0 * column == -95.0
    assert float(plane.get("PositionY", "")) + 10.0 * row == 1305.0
    assert image.sum() == 2.5


def test_a_sample_that_was_never_lit_has_no_map(tmp_path: Path) -> None:
    write_dose_map(tmp_path, DoseMap())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "not TOML", "[config.dose]\nsquare_mm = 1.0"])
def test_a_session_that_does_not_say_how_it_counted_is_counted_as_by_default(text: str) -> None:
    assert settings_in(text).square_um == 10.0


# --- a whole run -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[InlineRun, Path]:
    """A short inline run with moves, its light on a field larger than the view."""
    folder = tmp_path_factory.mktemp("run")
    path = write_tiny(folder, {"[segmenter]": "[dose]\nlit_um = [120.0, 100.0]\nsquare_um = 5.0\n\n[segmenter]"})
    config, session = load_config(path), folder / "session"
    session.mkdir()
    with inline_run(config, RUN, session, session_toml(RUN, config), 2.0) as inline:
        inline.image()
    return inline, session


def test_recorder_rig_and_inference_count_the_same(run: tuple[InlineRun, Path]) -> None:
    inline, session = run
    light = summarise(session)["light"]
    assert light["total_mj"] == pytest.approx(inline.loop.dose_mj)
    places = np.stack(np.meshgrid(np.arange(-150.0, 150.0, 5.0), np.arange(-150.0, 150.0, 5.0)), axis=-1).reshape(-1, 2)
    summary = Summary(settings_in((session / "session.toml").read_text("utf-8")))
    for message in read_journal(session / "journal.jsonl"):
        summary.add(message)
    of_the_rig, recorded = inline.loop.places().at_all(places), summary.light.map.at_all(places)
    assert np.all(recorded >= of_the_rig * (1 - 1e-9)), "between frames it is known less well where the stage was"
    assert recorded.sum() == pytest.approx(of_the_rig.sum(), rel=0.05)
    assert light["most_j_cm2"] == pytest.approx(of_the_rig.max())
    assert light["most_j_cm2"] <= j_cm2(light["total_mj"], 120.0 * 100.0) * (1 + 1e-9)
    assert 0 < light["cells_j_cm2"]["median"] <= light["cells_j_cm2"]["max"] <= light["most_j_cm2"] * (1 + 1e-9)
    assert 0.8 < light["unbleached"]["nuclei"] < 1.25


def test_the_map_is_made_again_from_the_journal(run: tuple[InlineRun, Path]) -> None:
    _, session = run
    written = (session / DOSE_MAP).read_bytes()
    (session / DOSE_MAP).unlink()
    (session / "summary.json").unlink()
    summarise_if_missing(session)
    assert (session / DOSE_MAP).read_bytes() == written


def test_every_track_has_its_dose_in_the_table(run: tuple[InlineRun, Path]) -> None:
    from pyarrow import parquet

    _, session = run
    dose = parquet.read_table(session / "tracks.parquet")["dose_j_cm2"].to_numpy()
    assert (dose > 0).all()


def test_a_journal_of_before_can_still_be_read(tmp_path: Path) -> None:
    """What version 1 did not say has its default."""
    words = b'{"kind":"inference_ended","run":"run-a","v":1,"n_analysed":3}\n'
    (tmp_path / "journal.jsonl").write_bytes(words)
    (message,) = read_journal(tmp_path / "journal.jsonl")
    assert isinstance(message, InferenceEnded)
    assert (message.n_analysed, message.cell_j_cm2) == (3, ())
