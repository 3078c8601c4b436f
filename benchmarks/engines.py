"""Which engine is fastest, and how far are its answers off? Every engine that is installed, in every precision it has.

`python -m benchmarks engines` takes the shipped models; `python -m benchmarks.engines FOLDER …` takes others.
"""

import sys
from collections.abc import Iterator
from statistics import median
from typing import get_args

import numpy as np

from acquisition.clock import NS_PER_MS, NS_PER_S, SystemClock
from benchmarks.tables import Report
from models.engines.choose import CheckedEngine, open_engine
from models.engines.engine import EngineError, EngineName, EngineSettings, Precision
from models.manifest import ClassifierManifest, Model, find_model, shipped_names

SIDE_PX, CROPS = 512, 16
ROUNDS = 40
CLOCK = SystemClock()


def main(report: Report, names: list[str] | None = None) -> None:
    for name in names or shipped_names():
        model = find_model(name)
        for output, shape in requests(model):
            report.table(
                f"Engines: {model.manifest.name}, {output}",
                f"Batches of {'×'.join(map(str, shape))}, one thread each, medians of {ROUNDS} rounds in which all take "
                "turns. Off: largest difference of a probability or distance from torch in float32, on the model's "
                "fixed image.",
                ("engine", "ms", "× the fastest", "opened in, s", "off"),
                rows(model, output, shape),
            )


def requests(model: Model) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Outputs and shapes of batches."""
    manifest = model.manifest
    if isinstance(manifest, ClassifierManifest):
        yield "logits", (CROPS, 1, manifest.side_px, manifest.side_px)
    else:
        yield from ((output, (1, 1, SIDE_PX, SIDE_PX)) for output in manifest.methods)


def rows(model: Model, output: str, shape: tuple[int, ...]) -> Iterator[tuple[str, ...]]:
    engines, refused = opened(model, output, shape)
    took_ms = milliseconds([engine for engine, _ in engines], shape)
    fastest = min(took_ms, default=0.0)
    for (engine, seconds), ms in sorted(zip(engines, took_ms, strict=True), key=lambda row: row[1]):
        yield engine.name, f"{ms:.2f}", f"{ms / fastest:.2f}", f"{seconds:.2f}", f"{engine.choice.difference:.1e}"
        engine.close()
    yield from ((words, "", "", "", "") for words in refused)


def opened(model: Model, output: str, shape: tuple[int, ...]) -> tuple[list[tuple[CheckedEngine, float]], list[str]]:
    """Engines with the seconds that it took to open them, and why engines are missing."""
    engines, refused = [], []
    for use in get_args(EngineName)[1:]:
        reasons = []
        for precision in get_args(Precision)[1:]:
            begin_ns = CLOCK.now_ns()
            try:
                engine = open_engine(model, output, shape, EngineSettings(use=use, precision=precision, threads=1))
            except EngineError as error:
                reasons.append(str(error))
            else:
                engines.append((engine, (CLOCK.now_ns() - begin_ns) / NS_PER_S))
        if len(reasons) == len(get_args(Precision)[1:]):
            refused.append(reasons[0])
    return engines, refused


def milliseconds(engines: list[CheckedEngine], shape: tuple[int, ...]) -> list[float]:
    """Median of each."""
    batch = np.random.default_rng(0).random(shape, np.float32)
    took_ms: list[list[float]] = [[] for _ in engines]
    for _ in range(ROUNDS):
        for engine, each in zip(engines, took_ms, strict=True):
            begin_ns = CLOCK.now_ns()
            engine.infer(batch)
            each.append((CLOCK.now_ns() - begin_ns) / NS_PER_MS)
    return [median(each) for each in took_ms]


if __name__ == "__main__":
    main(Report(), sys.argv[1:])
