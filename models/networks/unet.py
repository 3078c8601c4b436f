"""A compact residual U-Net: one backbone for every segmentation method; only the number of maps differs."""

from itertools import pairwise

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

MAPS = {"deep_watershed": 2, "pixel_classes": 3}
"""Maps of each method: foreground logit and distance; logits of background, boundary and interior."""


class UNetSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shape of the network; it travels with the weights."""

    widths: tuple[int, ...] = (32, 64, 96, 128)
    """Channels of each level, the finest first; each level halves the resolution."""
    unshuffle: int = 2
    """Pixels of a U × U square become channels of one before the finest level: 1 = full resolution."""
    blocks: int = 1
    """Residual blocks a level on the way down; on the way up there is one."""
    methods: tuple[str, ...] = ("deep_watershed", "pixel_classes")
    """Which heads the backbone has; see MAPS."""
    log_gain: float = 30.0
    """A second input channel is log(1 + gain · x): there dim cells beside bright ones stand out."""

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"widths must be positive channel counts, one a level, not {list(self.widths)}")
        if min(self.unshuffle, self.blocks) < 1 or self.log_gain <= 0:
            raise ValueError("unshuffle, blocks and log_gain must be positive")


class Residual(nn.Module):
    """3 × 3 convolution to the new width, a second one beside the identity."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(_conv(n_in, n_out), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True))
        self.refine = nn.Sequential(_conv(n_out, n_out), nn.BatchNorm2d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return functional.relu(x + self.refine(x), inplace=True)


class UNet(nn.Module):
    """`[B, 1, H, W]` normalised intensities → `[B, maps, H, W]` a method; H and W are multiples of `self.multiple`."""

    def __init__(self, settings: UNetSettings) -> None:
        super().__init__()
        self.settings = settings
        widths, square = settings.widths, settings.unshuffle**2
        self.multiple = settings.unshuffle * 2 ** (len(widths) - 1)
        self.down = nn.ModuleList(
            _level(n_in, n_out, settings.blocks) for n_in, n_out in zip((2 * square, *widths), widths, strict=False)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(deep, shallow, 1) for shallow, deep in pairwise(widths))
        self.up = nn.ModuleList(Residual(width, width) for width in widths[:-1])
        self.heads = nn.ModuleDict(
            {method: nn.Conv2d(widths[0], MAPS[method] * square, 3, padding=1) for method in settings.methods}
        )

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = self.backbone(image)
        return {
            method: functional.pixel_shuffle(head(x), self.settings.unshuffle) for method, head in self.heads.items()
        }

    def backbone(self, image: Tensor) -> Tensor:
        levels: list[Tensor] = []
        x = self._stem(image)
        for i, level in enumerate(self.down):
            x = level(x if i == 0 else functional.max_pool2d(x, 2))
            levels.append(x)
        for i in reversed(range(len(self.up))):
            coarse = functional.interpolate(self.lateral[i](x), scale_factor=2.0, mode="nearest")
            x = self.up[i](levels[i] + coarse)
        return x

    def _stem(self, image: Tensor) -> Tensor:
        both = torch.cat([image, torch.log1p(self.settings.log_gain * torch.relu(image))], dim=1)
        return functional.pixel_unshuffle(both, self.settings.unshuffle)


def n_parameters(network: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(p.numel() for p in network.parameters())


def _level(n_in: int, n_out: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(n_in if i == 0 else n_out, n_out) for i in range(blocks)))


def _conv(n_in: int, n_out: int) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
