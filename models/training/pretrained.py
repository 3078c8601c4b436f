"""Weights out of a model folder: to learn from it as a teacher, or to go on from it with other data."""

from collections.abc import Iterator
from itertools import pairwise
from typing import TypeVar

import msgspec
import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from models.manifest import Model, find_segmenter
from models.networks.unet import UNet, UNetSettings
from models.training.recipe import RecipeError

Weights = dict[str, Tensor]
_Network = TypeVar("_Network", bound=nn.Module)


def pretrained_unet(name: str) -> UNet:
    """The network of a shipped segmenter or of a folder, for inference exactly like its ONNX file. Raises ModelError."""
    model, manifest = find_segmenter(name)
    network = UNet(msgspec.convert(manifest.network, UNetSettings))
    network.load_state_dict(unfused(weights_of(model), network))
    return network.eval()


def weights_of(model: Model) -> Weights:
    """The initializers of model.onnx, by name."""
    graph = onnx.load_from_string(model.onnx_bytes()).graph
    return {each.name: torch.from_numpy(np.array(numpy_helper.to_array(each))) for each in graph.initializer}


def unfused(weights: Weights, network: nn.Module) -> Weights:
    """Fused weights as the state of `network`, which has its normalisation apart: that becomes an added constant."""
    state = dict(network.state_dict())
    state |= {key: value for key, value in weights.items() if key in state}
    for convolution, normalisation, eps in _pairs(network):
        state |= _constant(normalisation, weights[f"{convolution}.bias"], eps)
    return state


def start_from(network: _Network, name: str, source: nn.Module, heads: str) -> _Network:
    """Put the weights of `source` (model `name`) into `network`; only under `heads` may they differ. Raises RecipeError."""
    given, own = source.state_dict(), network.state_dict()
    fitting = {key: value for key, value in given.items() if key in own and own[key].shape == value.shape}
    if missing := [key for key in own if key not in fitting and not key.startswith(heads)]:
        raise RecipeError(
            f'the recipe\'s network is not that of "{name}": its {missing[0]} differs. To start from that model take its '
            "[network], as in its manifest.toml, for [training.network]"
        )
    network.load_state_dict(own | fitting)
    return network


@torch.no_grad()
def recentre(network: _Network, batch: Tensor) -> _Network:
    """Give every normalisation the statistics of `batch` without changing what the network computes.

    Training normalises by each batch. Weights from an ONNX file have lost their statistics, and the first step
    would work on other activations than the ones they were made for.
    """
    seen: dict[nn.BatchNorm2d, Tensor] = {}
    layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [layer.register_forward_pre_hook(lambda layer, x: seen.__setitem__(layer, x[0])) for layer in layers]
    network.eval()(batch)
    for hook in hooks:
        hook.remove()
    for layer in layers:
        _recentre(layer, seen[layer])
    return network


def _recentre(layer: nn.BatchNorm2d, x: Tensor) -> None:
    mean, variance = layer.running_mean, layer.running_var
    assert mean is not None
    assert variance is not None
    gain = layer.weight / torch.sqrt(variance + layer.eps)
    layer.bias.add_(gain * (x.mean((0, 2, 3)) - mean))
    mean.copy_(x.mean((0, 2, 3)))
    variance.copy_(x.var((0, 2, 3)))
    layer.weight.copy_(gain * torch.sqrt(variance + layer.eps))


def _pairs(network: nn.Module) -> Iterator[tuple[str, str, float]]:
    """Names of every convolution and of the normalisation right behind it, and the latter's ε."""
    for outer, module in network.named_modules():
        if isinstance(module, nn.Sequential):
            for (one, first), (other, second) in pairwise(module.named_children()):
                if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                    yield f"{outer}.{one}", f"{outer}.{other}", second.eps


def _constant(name: str, bias: Tensor, eps: float) -> Weights:
    """A normalisation that only adds `bias`: mean 0, variance 1, gain √(1 + ε)."""
    return {
        f"{name}.weight": torch.full_like(bias, (1 + eps) ** 0.5),
        f"{name}.bias": bias,
        f"{name}.running_mean": torch.zeros_like(bias),
        f"{name}.running_var": torch.ones_like(bias),
    }
