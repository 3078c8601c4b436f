"""What a segmenter's wrong pixels cost, against labels and against a teacher's maps."""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from models.training.augment import Crop, NotNegative, Share
from models.training.targets import pixel_classes, raised, weights

Maps = dict[str, Tensor]
"""Method → `[B, C, S, S]` float32."""


class LossSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a wrong pixel costs; a cross entropy of the foreground costs 1."""

    touching: NotNegative = 6.0
    """Added weight of pixels between objects that touch."""
    small: NotNegative = 0.25
    """Exponent by which pixels of small objects count more."""
    dice: NotNegative = 0.5
    """Of the foreground's Dice loss."""
    distance: NotNegative = 4.0
    """Of the squared error of the distance."""
    classes: NotNegative = 0.4
    """Of the cross entropy of the pixel classes."""
    rim: Share = 0.3
    """Height of the distance map at a cell's edge, where it touches no other."""
    teacher: Share = 0.5
    """Where there is a teacher: the part of the cost that its maps decide; labels decide the rest."""


def loss_of(maps: Maps, crops: Sequence[Crop], cost: LossSettings) -> Tensor:
    """The cost of the maps of every method against labels, a scalar."""
    weight = weight_of(crops, cost)
    loss = torch.zeros(())
    if "deep_watershed" in maps:
        foreground = _stacked([(c.labels > 0).astype(np.float32) for c in crops])
        distance = _stacked([raised(c.distance, c.labels, cost.rim) for c in crops])
        loss = loss + deep_watershed_loss(maps["deep_watershed"], foreground, distance, weight, cost)
    if "pixel_classes" in maps:
        wanted = torch.from_numpy(np.stack([pixel_classes(c.labels) for c in crops]))
        loss = loss + pixel_classes_loss(maps["pixel_classes"], wanted, weight, cost)
    return loss


def loss_from_teacher(maps: Maps, taught: Maps, weight: Tensor, cost: LossSettings) -> Tensor:
    """The same cost against another network's maps: its doubts are targets too, a scalar."""
    loss = torch.zeros(())
    if "deep_watershed" in maps:
        foreground, distance = torch.sigmoid(taught["deep_watershed"][:, 0]), taught["deep_watershed"][:, 1]
        loss = loss + deep_watershed_loss(maps["deep_watershed"], foreground, distance, weight, cost)
    if "pixel_classes" in maps:
        loss = loss + pixel_classes_loss(maps["pixel_classes"], taught["pixel_classes"].softmax(1), weight, cost)
    return loss


def deep_watershed_loss(
    maps: Tensor, foreground: Tensor, distance: Tensor, weight: Tensor, cost: LossSettings
) -> Tensor:
    """Cross entropy and Dice of the foreground, squared error of the distance; targets `[B, S, S]`."""
    share = weight / weight.sum()
    entropy = functional.binary_cross_entropy_with_logits(maps[:, 0], foreground, share, reduction="sum")
    p = torch.sigmoid(maps[:, 0])
    dice = 1 - (2 * (p * foreground).sum() + 1) / (p.sum() + foreground.sum() + 1)
    error = ((maps[:, 1] - distance) ** 2 * share).sum()
    return entropy + cost.dice * dice + cost.distance * error


def pixel_classes_loss(maps: Tensor, wanted: Tensor, weight: Tensor, cost: LossSettings) -> Tensor:
    """Cross entropy; `wanted` are classes `[B, S, S]` or their probabilities `[B, 3, S, S]`."""
    entropy = functional.cross_entropy(maps, wanted, reduction="none") * weight
    return cost.classes * entropy.sum() / weight.sum()


def weight_of(crops: Sequence[Crop], cost: LossSettings) -> Tensor:
    """How much each pixel counts, `[B, S, S]`."""
    return _stacked([weights(c.labels, cost.touching, cost.small) for c in crops])


def _stacked(arrays: Sequence[npt.NDArray[np.float32]]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))
