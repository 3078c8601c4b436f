"""A small convolutional classifier of single cells: no layer works at the crop's full resolution, which makes it fast."""

from itertools import pairwise

import msgspec
from torch import Tensor, nn
from torch.nn import functional


class CellClassifierSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shape of the network; it travels with the weights."""

    n_classes: int
    side_px: int = 64
    patch_px: int = 4
    """Pixels of a P × P square become channels of one before the first level."""
    widths: tuple[int, ...] = (32, 64, 128)
    """Channels of each level, the finest first; each level halves the resolution."""
    refinements: tuple[int, ...] = (1, 1, 1)
    """Residual convolutions after the first one of each level."""
    dropout: float = 0.1
    """Share of the features that are hidden from the last layer in a training step."""

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1 or len(self.widths) != len(self.refinements):
            raise ValueError(
                f"widths and refinements are one number a level, not {list(self.widths)} and {list(self.refinements)}"
            )
        if self.patch_px < 1 or self.side_px % self.multiple:
            raise ValueError(f"crops of {self.side_px} px: side_px must be a multiple of {self.multiple} here")

    @property
    def multiple(self) -> int:
        """Pixels of a crop that become one of the coarsest level, along each axis."""
        return self.patch_px << (len(self.widths) - 1)


class Refinement(nn.Module):
    """A 3 × 3 convolution beside the identity."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.change = nn.Sequential(nn.Conv2d(n, n, 3, padding=1, bias=False), nn.BatchNorm2d(n))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.change(x))


class CellClassifier(nn.Module):
    """`[N, 1, S, S]` normalised crops → `[N, K]` logits."""

    def __init__(self, settings: CellClassifierSettings) -> None:
        super().__init__()
        self.settings = settings
        channels = (settings.patch_px**2, *settings.widths)
        self.levels = nn.ModuleList(
            level(n_in, n_out, more)
            for (n_in, n_out), more in zip(pairwise(channels), settings.refinements, strict=True)
        )
        side, width = settings.side_px // settings.multiple, channels[-1]
        self.window = nn.Conv2d(width, width, side, groups=width)  # a mean with learned weights: the middle counts most
        nn.init.constant_(self.window.weight, 1 / side**2)
        self.head = nn.Sequential(nn.Dropout(settings.dropout), nn.Linear(width, settings.n_classes))

    def forward(self, crops: Tensor) -> Tensor:
        x = functional.pixel_unshuffle(crops, self.settings.patch_px)
        for i, each in enumerate(self.levels):
            x = each(x if i == 0 else functional.max_pool2d(x, 2))
        logits: Tensor = self.head(self.window(x).flatten(1))
        return logits


def level(n_in: int, n_out: int, refinements: int) -> nn.Sequential:
    """To the new width, then refined."""
    enter = (nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU())
    return nn.Sequential(*enter, *(Refinement(n_out) for _ in range(refinements)))
