"""Makes model.onnx, manifest.toml and parity.npz beside it: `python -m tests.tiny_classifier.make` (a minute; extra `train`).

A network of six thousand parameters that tells discs, rings, pairs of discs and noise apart, 32 px crops. The files
are committed, so that tests of engines and of everything behind them need no torch.
"""

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from models.crops import normalise
from models.manifest import ClassifierManifest, DataSource
from models.networks.cell_classifier import CellClassifier, CellClassifierSettings
from models.networks.fusing import fused
from models.training.exporting import onnx_bytes
from models.training.shipping import write_manifest

HERE = Path(__file__).parent
CLASSES = ("disc", "ring", "pair", "noise")
SETTINGS = CellClassifierSettings(n_classes=4, side_px=32, patch_px=4, widths=(8, 16), refinements=(1, 1), dropout=0.0)
STEPS, BATCH, RATE = 800, 64, 4e-3
Array = npt.NDArray[np.float32]


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = fused(trained(np.random.default_rng(0)))
    example = torch.zeros(2, 1, SETTINGS.side_px, SETTINGS.side_px)
    content = onnx_bytes(network, example, "crops", ["logits"], {"crops": {0: "n"}, "logits": {0: "n"}})
    (HERE / "model.onnx").write_bytes(content)
    crops, _ = examples(np.random.default_rng(1), 8)
    with torch.inference_mode():
        logits = network(torch.from_numpy(crops)).numpy()
    np.savez_compressed(HERE / "parity.npz", input=crops, logits=logits)
    write_manifest(manifest_of(content), HERE)


def examples(rng: np.random.Generator, n: int) -> tuple[Array, npt.NDArray[np.int64]]:
    """Normalised crops `[N, 1, S, S]` and their classes, which take turns."""
    classes = np.arange(n) % len(CLASSES)
    crops = normalise(np.stack([drawn(rng, CLASSES[number]) for number in classes]))
    return crops[:, None], classes


def drawn(rng: np.random.Generator, name: str) -> Array:
    """Counts `[S, S]`."""
    side = SETTINGS.side_px
    y, x = np.mgrid[:side, :side] - (side - 1) / 2 - rng.uniform(-1, 1, (2, 1, 1))
    angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(6, 10)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    shapes = {
        "disc": np.hypot(x, y) < radius,
        "ring": np.abs(np.hypot(x, y) - radius) < 2,
        "pair": np.hypot(np.abs(along) - radius, across) < radius / 2,
        "noise": np.zeros_like(x, bool),
    }
    background = 10 ** rng.uniform(0, 3)
    counts = background + shapes[name] * (background**0.5 + 5) * 10 ** rng.uniform(0.5, 1.5)
    return rng.poisson(counts).astype(np.float32)


def trained(rng: np.random.Generator) -> CellClassifier:
    network = CellClassifier(SETTINGS)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS)
    for step in range(STEPS):
        crops, classes = examples(rng, BATCH)
        loss = functional.cross_entropy(
            network(torch.from_numpy(crops)), torch.from_numpy(classes), label_smoothing=0.02
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
    return network


def manifest_of(network: bytes) -> ClassifierManifest:
    return ClassifierManifest(
        format=1, name="tiny-classifier", summary="Discs, rings and pairs, for tests.", um_per_px=None,
        recipe="tests/tiny_classifier/make.py", sha256=hashlib.sha256(network).hexdigest(),
        data=(DataSource(name="shapes", licence="none needed", source="drawn by the script"),),
        side_px=SETTINGS.side_px, classes=CLASSES, temperature=1.0, network=msgspec.to_builtins(SETTINGS),
        groups={"interphase": ("disc",), "mitotic": ("ring", "pair"), "artefact": ("noise",)},
    )  # fmt: skip


if __name__ == "__main__":
    main()
