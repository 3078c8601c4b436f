"""Networks by torch, from the weights in the ONNX file: on the CPU, or on an NVIDIA GPU where torch has one."""

import msgspec
import numpy as np
import onnx
import torch
from torch import Tensor, nn

from models.engines.engine import Array, EngineError, EngineSettings, Precision, in_words, thread_budget
from models.manifest import ClassifierManifest, Model
from models.networks.cell_classifier import CellClassifier, CellClassifierSettings
from models.networks.fusing import fused
from models.networks.unet import UNet, UNetSettings

TYPES: dict[Precision, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def precisions() -> tuple[Precision, ...]:
    """What the device computes natively, the fastest first; of two equally fast ones the more precise."""
    if torch.cuda.is_available():
        return ("fp16", "bf16", "fp32") if torch.cuda.is_bf16_supported(including_emulation=False) else ("fp16", "fp32")
    return ("bf16", "fp32") if torch.cpu.get_capabilities().get("avx512_bf16") else ("fp32",)


class TorchEngine:
    """One device, two arrays that live as long as the engine.

    torch's thread count is one for the whole process: the engine that was opened last sets it.
    """

    def __init__(self, model: Model, output: str, shape: tuple[int, ...], settings: EngineSettings) -> None:
        threads = thread_budget(settings)
        torch.set_num_threads(threads)
        torch.backends.cudnn.allow_tf32 = False  # on GPUs "fp32" would be 10 bits of mantissa otherwise
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self.shape, self.precision = shape, settings.precision
        on = torch.cuda.get_device_name() if self._device == "cuda" else "CPU"
        self.name = in_words("torch", torch.__version__, on, self.precision, threads)
        self._output = output
        self._network = network_of(model, output).to(self._device)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._batch = np.zeros(shape, np.float32)
        self._maps = self._answer().to("cpu", torch.float32, memory_format=torch.contiguous_format, copy=True)

    def infer(self, batch: Array) -> Array:
        np.copyto(self._batch, batch)
        self._maps.copy_(self._answer())
        return self._maps.numpy()

    def close(self) -> None:
        del self._network

    @torch.inference_mode()
    def _answer(self) -> Tensor:
        batch = torch.from_numpy(self._batch).to(self._device)
        with torch.autocast(self._device, TYPES[self.precision], enabled=self.precision != "fp32"):
            answer = self._network(batch)
        chosen: Tensor = answer[self._output] if isinstance(answer, dict) else answer
        return chosen


def network_of(model: Model, output: str) -> nn.Module:
    """The network of a model, with only the head of one output, ready to infer. Raises EngineError."""
    weights = _initializers(model)
    try:
        network = fused(_described(model, output))
        network.load_state_dict({name: weights[name] for name in network.state_dict()})
    except (KeyError, RuntimeError, ValueError) as error:
        raise EngineError(
            f"{model.onnx_path} does not hold the weights of a torch network that its manifest describes ({error}): "
            "use another engine or, unless it is an int8 network, export the model again"
        ) from error
    return network


def _described(model: Model, output: str) -> nn.Module:
    manifest = model.manifest
    if isinstance(manifest, ClassifierManifest):
        return CellClassifier(msgspec.convert(manifest.network, CellClassifierSettings))
    settings = msgspec.convert(manifest.network, UNetSettings)
    return UNet(msgspec.structs.replace(settings, methods=(output,)))


def _initializers(model: Model) -> dict[str, Tensor]:
    graph = onnx.load_model_from_string(model.onnx_bytes()).graph
    return {each.name: torch.from_numpy(onnx.numpy_helper.to_array(each).copy()) for each in graph.initializer}
