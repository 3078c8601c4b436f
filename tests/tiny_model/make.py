"""Makes model.onnx, manifest.toml and parity.npz beside it: `python -m tests.tiny_model.make` (a minute; extra `train`).

A U-Net of six thousand parameters that finds bright discs of 4 to 14 px radius, and nothing in noise. The files are
committed, so that tests of engines and of everything behind them need no torch.
"""

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from models.label_rules import LabelRules
from models.manifest import DataSource, SegmenterManifest
from models.networks.fusing import fused
from models.networks.unet import UNet, UNetSettings
from models.normalise import LevelRules, levels, normalised
from models.training.exporting import onnx_bytes
from models.training.shipping import write_manifest

HERE = Path(__file__).parent
SETTINGS = UNetSettings(widths=(8, 12), unshuffle=2)
STEPS, BATCH, SIDE_PX, RATE = 1500, 16, 96, 4e-3
EDGE_PX = 1.5
DEEP_WATERSHED = LabelRules(
    method="deep_watershed", foreground=0.5, prominence=0.2, peak=0.4, certainty=0.5, min_area_px=16
)
PIXEL_CLASSES = LabelRules(
    method="pixel_classes", foreground=0.5, prominence=0.2, peak=0.4, certainty=0.8, min_area_px=40
)
Array = npt.NDArray[np.float32]


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = fused(trained(np.random.default_rng(0)))
    free = {name: {2: "height", 3: "width"} for name in ("image", *SETTINGS.methods)}
    content = onnx_bytes(network, torch.zeros(1, 1, 64, 64), "image", SETTINGS.methods, free)
    (HERE / "model.onnx").write_bytes(content)
    image = example(np.random.default_rng(1), (1, 48, 64), n=5)[0]
    with torch.inference_mode():
        maps = network(torch.from_numpy(image)[None])
    np.savez_compressed(HERE / "parity.npz", input=image[None], **{name: m.numpy() for name, m in maps.items()})
    write_manifest(manifest_of(content), HERE)


def example(rng: np.random.Generator, shape: tuple[int, int, int], n: int | None = None) -> tuple[Array, Array]:
    """Normalised image `[1, H, W]`, and truth `[2, H, W]`: 1 − distance to the middle / radius (negative outside of discs),
    and 1 near a disc's edge."""
    _, rows, columns = shape
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    n = int(rng.integers(0, 12)) if n is None else n
    height, second, edge = np.full((3, rows, columns), -1.0, np.float32)
    background, contrast = 10 ** rng.uniform(-1, 4), 10 ** rng.uniform(0.3, 2)
    counts = np.full((rows, columns), background)
    for _ in range(n):
        radius = rng.uniform(4, 14)
        gap = radius - np.hypot(y - rng.uniform(0, rows), x - rng.uniform(0, columns))
        counts[gap > 0] = background + contrast * (background**0.5 + 20) * rng.uniform(0.7, 1.3)
        new = gap / radius
        second = np.maximum(second, np.minimum(height, new))
        height, edge = np.maximum(height, new), np.where(new >= height, gap, edge)
    noisy = np.minimum(rng.poisson(counts), rng.choice([255, 65535]) if rng.random() < 0.2 else 10**7)
    near = (height > 0) & ((edge < EDGE_PX) | (second > 0))
    return normalised(noisy.astype(np.float32), *levels(noisy))[None], np.stack([height, near.astype(np.float32)])


def trained(rng: np.random.Generator) -> UNet:
    network = UNet(SETTINGS).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS)
    for step in range(STEPS):
        images, truths = zip(*(example(rng, (1, SIDE_PX, SIDE_PX)) for _ in range(BATCH)), strict=True)
        loss = loss_of(network(torch.from_numpy(np.stack(images))), torch.from_numpy(np.stack(truths)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
    return network


def loss_of(maps: dict[str, torch.Tensor], truth: torch.Tensor) -> torch.Tensor:
    height, near = truth[:, 0], truth[:, 1]
    inside = (height > 0).float()
    foreground, distance = maps["deep_watershed"].unbind(1)
    classes = torch.where(inside > 0, 2 - near, 0.0).long()
    return (
        functional.binary_cross_entropy_with_logits(foreground, inside)
        + functional.mse_loss(distance, height.clamp(0, 1)) * 4
        + functional.cross_entropy(maps["pixel_classes"], classes)
    )


def manifest_of(network: bytes) -> SegmenterManifest:
    return SegmenterManifest(
        format=1, name="tiny", summary="Bright discs, for tests.", um_per_px=None, recipe="tests/tiny_model/make.py",
        sha256=hashlib.sha256(network).hexdigest(), multiple_px=4, levels=LevelRules(),
        data=(DataSource(name="discs", licence="none needed", source="drawn by the script"),),
        methods={"deep_watershed": DEEP_WATERSHED, "pixel_classes": PIXEL_CLASSES},
        network=msgspec.to_builtins(SETTINGS),
    )  # fmt: skip


if __name__ == "__main__":
    main()
