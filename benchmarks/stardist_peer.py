"""StarDist as a peer of benchmarks/perception.py: trained by its own package on our split, then asked image by image.

Runs in an environment of its own, since nothing here may depend on TensorFlow (tried: stardist 0.9.2 with
tensorflow-cpu 2.21, keras 3.15 and numpy 2.4, Python 3.11), from the project's folder:

    python -m benchmarks.stardist_peer train --data ../shared/data --cpu-minutes 30
    python -m benchmarks perception      # in the project's environment; it starts this one's `serve`

The model is the package's default 2D one: U-Net of depth 3 from 32 channels behind a grid of (2, 2), 32 rays, 256 × 256 px
patches, batches of 4, Adam at 3e-4, best weights by validation loss. Images are normalised to quantiles 1 … 99.8 %,
augmented by flips, quarter turns and intensity. Training stops when the process has used its CPU time, whether for
steps, crops or validation; then `optimize_thresholds` chooses on the validation images, in time that is not counted.
Its patience on a plateau is 40 of 400 epochs by default: here the same share of the epochs that the time allows.
"""

import argparse
import csv
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ[_name] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np  # noqa: E402  # libraries read their number of threads when they are loaded

SETS: tuple[tuple[str, dict[str, str]], ...] = (("dsb2018", {"fluo": "1", "ood": "0"}), ("bbbc039", {}))
"""What `nuclei` is trained on as well."""
ABOUT = "peer.json"
PATIENCE_SHARE = 40 / 400
Pair = tuple[np.ndarray, np.ndarray]


# --- training ----------------------------------------------------------------------------------------------------------


def train(data: Path, out: Path, cpu_minutes: float, steps_per_epoch: int, seed: int) -> None:
    """Leaves `out` with the model and `peer.json`."""
    from stardist.models import Config2D, StarDist2D

    _one_thread()
    learn, check = pairs(data, "train"), pairs(data, "val")
    print(f"{len(learn)} images to learn from, {len(check)} to validate on", flush=True)
    config = Config2D(n_rays=32, grid=(2, 2), n_channel_in=1, train_tensorboard=False)  # it only draws curves
    model = StarDist2D(config, name=out.name, basedir=str(out.parent))
    model.prepare_for_training()
    budget = _budget(cpu_minutes * 60, model.callbacks[0])
    model.callbacks.append(budget)
    rng = np.random.default_rng(seed)
    model.train(
        *map(list, zip(*learn, strict=True)), validation_data=tuple(map(list, zip(*check, strict=True))), seed=seed,
        augmenter=lambda x, y: augmented(x, y, rng), epochs=100_000, steps_per_epoch=steps_per_epoch,
    )  # fmt: skip
    used_s = budget.used_s()
    started = time.process_time()
    thresholds = model.optimize_thresholds(*map(list, zip(*check, strict=True)))
    about = {
        "python": sys.executable, "cpu_minutes": used_s / 60, "steps": budget.steps, "epochs": budget.epochs,
        "images": len(learn), "parameters": int(model.keras_model.count_params()), "thresholds": thresholds,
        "thresholds_cpu_minutes": (time.process_time() - started) / 60, "versions": _versions(), "seed": seed,
        "val_loss": budget.val_loss,
    }  # fmt: skip
    (out / ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")
    (out / ".gitignore").write_text("*\n", encoding="utf-8")
    print(json.dumps(about), flush=True)


def pairs(data: Path, split: str) -> list[Pair]:
    """Normalised images and labels of one split."""
    from stardist import fill_label_holes

    found = []
    for folder, name in _files(data, split):
        labels = _read(folder / "labels" / name).astype(np.int32)
        found.append((_normalised(_read(folder / "images" / name)), fill_label_holes(labels)))
    return found


def augmented(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
    """One of the eight ways to lay the square down, other gain and offset, a little noise."""
    turns, mirrored = int(rng.integers(4)), rng.random() < 0.5
    image, labels = np.rot90(image, turns), np.rot90(labels, turns)
    if mirrored:
        image, labels = image[:, ::-1], labels[:, ::-1]
    image = image * rng.uniform(0.6, 2.0) + rng.uniform(-0.2, 0.2)
    noise = rng.normal(0.0, 0.02 * rng.uniform(0.0, 1.0), image.shape)
    return (image + noise).astype(np.float32), np.ascontiguousarray(labels)


def _budget(cpu_s: float, plateau: Any) -> Any:
    """A callback that ends training after so much CPU time, and makes the patience fit the epochs that it allows."""
    import keras

    class Budget(keras.callbacks.Callback):  # type: ignore[misc]  # keras is untyped here
        steps, epochs = 0, 0

        def __init__(self) -> None:
            super().__init__()
            self._started = time.process_time()
            self.val_loss: list[float] = []

        def used_s(self) -> float:
            return time.process_time() - self._started

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.steps += 1
            if self.used_s() >= cpu_s:
                self.model.stop_training = True

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.epochs += 1
            self.val_loss.append(float(logs["val_loss"]))
            plateau.patience = max(1, round(PATIENCE_SHARE * self.epochs * cpu_s / self.used_s()))
            print(
                f"\n{self.used_s() / 60:.1f} CPU minutes, {self.steps} steps, patience {plateau.patience}", flush=True
            )

    return Budget()


# --- answering ---------------------------------------------------------------------------------------------------------


def serve(folder: Path) -> None:
    """For each line, the path of an image as .npy: writes labels beside it and answers `wall_ms cpu_ms`."""
    answers = os.fdopen(os.dup(1), "w")  # libraries may print: their lines go to stderr
    os.dup2(2, 1)
    from stardist.models import StarDist2D

    _one_thread()
    model = StarDist2D(None, name=folder.name, basedir=str(folder.parent))
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        path = Path(line.strip())
        pixels = np.load(path)
        wall, cpu = time.perf_counter(), time.process_time()
        labels, _ = model.predict_instances(_normalised(pixels), predict_kwargs={"verbose": 0})
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        np.save(path.with_suffix(".labels.npy"), labels.astype(np.int32))
        print(f"{wall * 1000:.4f} {cpu * 1000:.4f}", file=answers, flush=True)


def _one_thread() -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _normalised(pixels: np.ndarray) -> np.ndarray:
    from csbdeep.utils import normalize

    image: np.ndarray = normalize(pixels, 1, 99.8)
    return image


def _files(data: Path, split: str) -> Iterator[tuple[Path, str]]:
    for name, where in SETS:
        with (data / name / "splits.csv").open(newline="", encoding="utf-8") as table:
            for row in csv.DictReader(table):
                if row["split"] == split and all(row[column] == value for column, value in where.items()):
                    yield data / name, row["file"]


def _read(path: Path) -> np.ndarray:
    from skimage.io import imread

    image: np.ndarray = imread(path)
    return image


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("stardist", "csbdeep", "keras", "numpy")
    import tensorflow as tf

    return {"python": platform.python_version(), "tensorflow": tf.__version__} | {name: version(name) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stardist_peer")
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("--data", type=Path, required=True, help="holds dsb2018/ and bbbc039/")
    training.add_argument("--out", type=Path, default=Path("stardist"), help="folder for the model")
    training.add_argument("--cpu-minutes", type=float, default=30.0)
    training.add_argument("--steps-per-epoch", type=int, default=100)
    training.add_argument("--seed", type=int, default=0)
    answering = commands.add_parser("serve")
    answering.add_argument("folder", type=Path)
    options = parser.parse_args()
    if options.command == "serve":
        serve(options.folder.resolve())
    else:
        train(options.data, options.out.resolve(), options.cpu_minutes, options.steps_per_epoch, options.seed)


if __name__ == "__main__":
    main()
