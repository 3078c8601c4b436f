"""Which engine runs a network: a named one is used or refused, `auto` picks one and says why; none serves unchecked."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from msgspec.structs import replace

from models.engines.engine import Array, Engine, EngineError, EngineName, EngineSettings, Precision
from models.engines.parity import ParityError, allowed, needed_shapes, require_parity
from models.manifest import ClassifierManifest, Model

EngineClass = Callable[[Model, str, tuple[int, ...], EngineSettings], Engine]

NEEDS: dict[str, tuple[tuple[str, ...], str]] = {
    "openvino": (("openvino",), "openvino"),
    "onnxruntime": (("onnxruntime",), '"reflexscope[onnx]"'),
    "torch": (("torch", "onnx"), '"reflexscope[train]"'),
    "tensorrt": (("tensorrt",), '"reflexscope[gpu]"'),
}
"""Engine → modules that must be there, and what pip installs for them."""


@dataclass(frozen=True)
class Choice:
    """What runs a network, and why; for journals."""

    engine: str
    precision: Precision
    reason: str
    difference: float
    """Largest from the reference, of a probability or distance."""
    allowed: float

    @property
    def words(self) -> str:
        off = f"off the reference by {self.difference:.2g}, allowed are {self.allowed:g}"
        return f"{self.engine} ({self.reason}); {off}"


class CheckedEngine:
    """An engine that has passed its parity check; wrong batches stop here."""

    def __init__(self, engine: Engine, choice: Choice) -> None:
        self.name, self.precision, self.shape = engine.name, engine.precision, engine.shape
        self.choice = choice
        self._engine: Engine | None = engine

    def infer(self, batch: Array) -> Array:
        """See Engine. Raises ValueError for a batch of another shape, type or layout."""
        if self._engine is None:
            raise EngineError(f"{self.name} was closed; open another engine")
        if batch.shape != self.shape or batch.dtype != np.float32 or not batch.flags.c_contiguous:
            layout = "" if batch.flags.c_contiguous else ", not C-contiguous"
            raise ValueError(
                f"{self.name} was opened for C-contiguous float32 batches of shape {self.shape}, "
                f"not {batch.dtype} of shape {batch.shape}{layout}"
            )
        return self._engine.infer(batch)

    def close(self) -> None:
        """Give back what the library holds; a second call does nothing."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def open_engine(model: Model, output: str, shape: tuple[int, ...], settings: EngineSettings) -> CheckedEngine:
    """An engine for batches of `shape` that answers with one output. Takes up to seconds. Raises EngineError."""
    _require_fit(model, output, shape)
    name, reason = chosen(model, output, shape, settings)
    make, able = _library(name)
    *first, last = _precisions(name, able, settings)
    for precision in first:
        try:
            return _checked(make, model, output, shape, replace(settings, precision=precision), reason)
        except ParityError as refusal:
            reason = f"{reason}; {refusal}"
    return _checked(make, model, output, shape, replace(settings, precision=last), reason)


def build_ahead(
    model: Model, output: str, shape: tuple[int, ...], settings: EngineSettings, tell: Callable[[str], None]
) -> None:
    """Build what TensorRT needs for `shape`, which may take minutes; `tell` hears how it goes. Raises EngineError.

    Nothing to do for other engines, and for `auto` on a machine without a usable GPU.
    """
    from models.engines.tensorrt_build import build_if_needed
    from models.engines.tensorrt_library import find_origin

    if settings.use == "auto":
        try:
            find_origin()
        except EngineError:
            return
    if settings.use in ("auto", "tensorrt"):
        build_if_needed(model, output, shape, settings, tell)


def chosen(model: Model, output: str, shape: tuple[int, ...], settings: EngineSettings) -> tuple[EngineName, str]:
    """The engine to use, and the reason. Raises EngineError if the one asked for is not installed."""
    from models.engines.tensorrt_engine import why_not

    if settings.use != "auto":
        _require_installed(settings.use)
        return settings.use, "as named in the settings"
    if missing("tensorrt"):
        not_on_gpu = "not installed, and of use only with an NVIDIA GPU"
    else:
        reasons = (why_not(model, output, each, settings) for each in needed_shapes(model, shape))
        not_on_gpu = next((reason for reason in reasons if reason), "")
    if not not_on_gpu:
        return "tensorrt", "picked: an engine for this GPU is ready"
    if missing("openvino") and not missing("onnxruntime"):
        return "onnxruntime", f"picked, without OpenVINO, which is not installed, and without TensorRT: {not_on_gpu}"
    _require_installed("openvino")
    return "openvino", f"picked, without TensorRT: {not_on_gpu}"


def missing(name: str) -> list[str]:
    """Modules that an engine needs and that are not installed."""
    return [module for module in NEEDS[name][0] if find_spec(module) is None]


def _checked(
    make: EngineClass, model: Model, output: str, shape: tuple[int, ...], settings: EngineSettings, reason: str
) -> CheckedEngine:
    engine = make(model, output, shape, settings)
    with ExitStack() as on_refusal:
        on_refusal.callback(engine.close)
        same = replace(settings, precision=engine.precision)  # "auto" might find another one ready for another shape
        difference = require_parity(engine, model, output, lambda other: make(model, output, other, same))
        on_refusal.pop_all()
    most = allowed(model, engine.precision)
    return CheckedEngine(engine, Choice(engine.name, engine.precision, reason, difference, most))


def _library(name: EngineName) -> tuple[EngineClass, tuple[Precision, ...]]:
    """The engine's class, and what it computes here, the fastest first; empty if only a built engine can tell."""
    try:
        if name == "openvino":
            from models.engines import openvino_engine

            return openvino_engine.OpenVINOEngine, openvino_engine.precisions()
        if name == "onnxruntime":
            from models.engines import onnxruntime_engine

            return onnxruntime_engine.ONNXRuntimeEngine, onnxruntime_engine.precisions()
        if name == "torch":
            from models.engines import torch_engine

            return torch_engine.TorchEngine, torch_engine.precisions()
    except (ImportError, OSError) as error:
        raise EngineError(f'engine "{name}" is installed and cannot be loaded ({error}); install it again') from error
    from models.engines import tensorrt_engine

    return tensorrt_engine.TensorRTEngine, ()


def _precisions(name: EngineName, able: tuple[Precision, ...], settings: EngineSettings) -> tuple[Precision, ...]:
    """What to try, one after the other. Raises EngineError for what the engine cannot compute here."""
    if not able or settings.precision in able:
        return (settings.precision,)
    if settings.precision == "auto":
        return able
    hint = "; an int8 network is a model of its own, see models/engines/int8.py" if settings.precision == "int8" else ""
    raise EngineError(
        f'{name} computes {" and ".join(able)} natively on this machine, not "{settings.precision}": '
        f'set engine.precision to one of these or to "auto"{hint}'
    )


def _require_installed(name: str) -> None:
    if absent := missing(name):
        raise EngineError(
            f'engine "{name}" needs {" and ".join(absent)}, not installed here: pip install {NEEDS[name][1]}, '
            "or set another engine.use"
        )


def _require_fit(model: Model, output: str, shape: tuple[int, ...]) -> None:
    """Does the model have this output, and does it take batches of this shape?"""
    manifest = model.manifest
    outputs = ("logits",) if isinstance(manifest, ClassifierManifest) else tuple(manifest.methods)
    if output not in outputs:
        raise EngineError(f'model "{manifest.name}" has no output "{output}"; it has {", ".join(outputs)}')
    if isinstance(manifest, ClassifierManifest):
        side = manifest.side_px
        takes, fits = f"[N, 1, {side}, {side}]", shape[1:] == (1, side, side)
    else:
        multiple = manifest.multiple_px
        takes = f"[1, 1, H, W] with H and W multiples of {multiple}"
        fits = len(shape) == 4 and shape[:2] == (1, 1) and not any(side % multiple for side in shape[2:])
    if not fits or min(shape) < 1:
        raise EngineError(f'model "{manifest.name}" takes batches of shape {takes}, not {list(shape)}')
