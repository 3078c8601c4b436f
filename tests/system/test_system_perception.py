"""A trained network in a real run: its engine is open before the first frame, named in the journal, and refused aloud."""

import shutil
from pathlib import Path

import numpy as np

from models.manifest import find_model
from realtime.wire import FrameAnalysed, InferenceStarted
from tests.system.runs import Recorded, Run, of_kind, simulated_config

TINY = Path(__file__).resolve().parents[1] / "tiny_model"
NETWORK = {"use": "network"}


def test_the_shipped_network_finds_the_simulated_cells(tmp_path: Path) -> None:
    config = simulated_config(tmp_path, segmenter=NETWORK)
    with Run(config, tmp_path / "session") as run:
        run.step_until(lambda: run.figure("inference_cells") > 0, "cells are found")
        run.take_frames(10)
        result = run.finish()
    assert result.ok, result.reason
    recorded = Recorded(run.folder)
    recorded.assert_whole()
    (started,) = of_kind(InferenceStarted, recorded.messages)
    assert started.perception.startswith("nuclei ("), "the engine was not open at the start"
    assert "off the reference by" in started.perception, "the parity check's result is in the journal"
    assert any(analysed.n_cells for analysed in of_kind(FrameAnalysed, recorded.messages))


def damaged(folder: Path) -> Path:
    """The tiny model with an answer for its fixed input that the network does not give."""
    shutil.copytree(TINY, folder)
    parity = find_model(str(folder)).parity()
    np.savez(folder / "parity.npz", **{name: array + (name != "input") for name, array in parity.items()})
    return folder


def test_a_network_that_answers_wrongly_ends_the_run_at_once_and_says_why(tmp_path: Path) -> None:
    model = damaged(tmp_path / "model")
    config = simulated_config(tmp_path, segmenter=NETWORK | {"model_path": str(model)})
    with Run(config, tmp_path / "session") as run:
        result = run.to_the_end()
    assert not result.ok
    assert "inference cannot work" in result.reason
    assert 'is refused for "deep_watershed" of model "tiny"' in result.reason
    assert "more than" in result.reason
    recorded = Recorded(run.folder)
    assert not of_kind(InferenceStarted, recorded.messages)
