"""Does an engine answer like the reference? A fixed input, and torch's answers in float32 from when it was exported.

Compared is what decisions are made of: probabilities of foreground or of classes, and distances. The logits of a sure
pixel are far from 0, and their rounding has no effect.

An engine for another image size is not judged by the fixed image inside of a larger one: a U-Net takes the whole field
into account, and what lies beside the image may change maps by as much as 1 more than 100 px away. A second engine,
the same but for its shape, takes the image as it is.
"""

import contextlib
from collections.abc import Callable

import numpy as np
from scipy.special import expit, softmax

from models.engines.engine import Array, Engine, EngineError, Precision
from models.manifest import PARITY_INPUT, ClassifierManifest, Model, Parity

TOLERANCES: dict[Precision, float] = {"fp32": 0.002, "fp16": 0.02, "bf16": 0.1, "int8": 0.2}
"""Largest difference of a probability or distance.

Seen on 59 images with a network of 1.5 M parameters: fp32 0.00001, bf16 0.034 (8 bits of mantissa; 1 pixel in
10 000 changed sides), and 0.053 with its int8 network, where a last bit decides between two of 256 steps. A wrong layer,
weight or layout is off by about 1.
"""
INT8_OF = "int8_of"
"""Manifests of int8 networks (int8.py) name the float32 network by its SHA-256 here, instead of torch's settings."""


class ParityError(EngineError):
    """The engine's answers are not the network's."""


OpenAt = Callable[[tuple[int, ...]], Engine]


def require_parity(engine: Engine, model: Model, output: str, open_at: OpenAt) -> float:
    """The largest difference; raises ParityError beyond the tolerance. `open_at` makes the same engine for another shape."""
    given = _given(model, output)
    answer = _answer_to(given[PARITY_INPUT], engine, open_at)
    found, tolerance = difference(model, output, answer, given[output]), allowed(model, engine.precision)
    if not found <= tolerance:  # not-a-number, too
        raise ParityError(
            f'{engine.name} is refused for "{output}" of model "{model.manifest.name}": its answer differs from the '
            f"reference by {found:.3g}, more than {tolerance:g}; set another engine.use or engine.precision"
        )
    return found


def allowed(model: Model, precision: Precision) -> float:
    """The largest difference with which an engine may serve."""
    return TOLERANCES["int8" if INT8_OF in model.manifest.network else precision]


def needed_shapes(model: Model, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Batch shapes for which the engine must exist before it may serve `shape`: whoever builds ahead builds them all."""
    fixed = _given(model)[PARITY_INPUT].shape
    return (shape,) if shape[1:] == fixed[1:] else (shape, fixed)


def answers(engine: Engine, inputs: Array) -> Array:
    """Of any number of inputs, in batches of the engine's size; the last one is filled up with zeros."""
    size, batch, found = engine.shape[0], np.zeros(engine.shape, np.float32), []
    for first in range(0, len(inputs), size):
        part = inputs[first : first + size]
        batch[: len(part)] = part
        found.append(engine.infer(batch)[: len(part)].copy())
    return np.concatenate(found)


def difference(model: Model, output: str, one: Array, other: Array) -> float:
    """Largest difference of what is compared; not-a-number if one of the answers is."""
    if one.shape != other.shape:
        return float("inf")
    return float(np.abs(_compared(model, output, one) - _compared(model, output, other)).max())


def _compared(model: Model, output: str, maps: Array) -> Array:
    """Probabilities and distances, from 0 to 1."""
    manifest = model.manifest
    shares: Array
    if isinstance(manifest, ClassifierManifest):
        shares = softmax(maps / manifest.temperature, axis=1)
    elif manifest.methods[output].method == "pixel_classes":
        shares = softmax(maps, axis=1)
    else:
        shares = np.stack([expit(maps[:, 0]), np.clip(maps[:, 1], 0, 1)])
    return shares


def _answer_to(inputs: Array, engine: Engine, open_at: OpenAt) -> Array:
    if engine.shape[1:] == inputs.shape[1:]:
        return answers(engine, inputs)
    with contextlib.closing(open_at(inputs.shape)) as second:
        return answers(second, inputs)


def _given(model: Model, output: str = PARITY_INPUT) -> Parity:
    given = model.parity()
    if absent := {PARITY_INPUT, output} - set(given):
        raise EngineError(
            f'parity.npz of model "{model.manifest.name}" has no "{absent.pop()}", without which no engine can be '
            "checked: export the model again"
        )
    return given
