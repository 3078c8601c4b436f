"""Networks on an NVIDIA GPU: a plan that was built before the run, replayed as one CUDA graph.

    batch → pinned memory → GPU → network → GPU → pinned memory        one launch, one wait, no allocation

Nothing is built here: `models/engines/tensorrt_build.py` does that in a process of its own, before a run.
"""

from contextlib import ExitStack
from typing import Any

import numpy as np

from models.engines.cuda_runtime import CapturedWork, call, cudart, device_memory, pinned_array
from models.engines.engine import Array, EngineError, EngineSettings
from models.engines.tensorrt_cache import PlanKey
from models.engines.tensorrt_library import last_words, logger, tensorrt
from models.engines.tensorrt_plans import ready_plan
from models.manifest import Model


def why_not(model: Model, output: str, shape: tuple[int, ...], settings: EngineSettings) -> str | None:
    """None if an engine for this GPU and shape is ready, else the reason in one line."""
    try:
        ready_plan(model, output, shape, settings)
    except EngineError as error:
        return str(error)
    return None


class TensorRTEngine:
    """One output of a network for batches of one shape."""

    def __init__(self, model: Model, output: str, shape: tuple[int, ...], settings: EngineSettings) -> None:
        """Load a plan that is ready. Raises EngineError where there is none for this machine."""
        key, plan = ready_plan(model, output, shape, settings)
        self.shape, self.precision = shape, key.precision
        with ExitStack() as release:  # what came last goes first: the graph, then its memory, then TensorRT's objects
            network = _Network(plan, key)
            release.callback(network.close)
            self.name = (
                f"TensorRT {key.origin.tensorrt} on {key.origin.gpu}, {key.precision}, {network.n_layers} layers"
            )
            self.layers = network.layers()
            """TensorRT's inspector on each layer of the engine, JSON: kernels, formats, precisions."""
            self._input, source = pinned_array(shape)
            self._output, target = pinned_array(network.output_shape)
            n_in, n_out = self._input.nbytes, self._output.nbytes
            gpu_in, gpu_out = device_memory(n_in, release), device_memory(n_out, release)
            network.bind(gpu_in, gpu_out)

            def enqueue(stream: Any) -> None:
                directions = cudart().cudaMemcpyKind
                call(cudart().cudaMemcpyAsync, gpu_in, source, n_in, directions.cudaMemcpyHostToDevice, stream)
                network.enqueue(stream)
                call(cudart().cudaMemcpyAsync, target, gpu_out, n_out, directions.cudaMemcpyDeviceToHost, stream)

            self._work = CapturedWork(enqueue)
            release.callback(self._work.close)
            self._release = release.pop_all()

    def infer(self, batch: Array) -> Array:
        """The output for `batch` (float32, of `shape`); valid until the next call."""
        np.copyto(self._input, batch)
        self._work.run()
        return self._output

    def close(self) -> None:
        """Give the GPU back. Arrays that `infer` returned stay readable."""
        self._release.close()


class _Network:
    """TensorRT's runtime, engine and context: each needs the one before it."""

    def __init__(self, plan: bytes, key: PlanKey) -> None:
        trt = tensorrt()
        self._words = key.words
        self._runtime = trt.Runtime(logger())
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineError(f"TensorRT cannot load its own engine for {key.words}: {last_words()}")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"TensorRT has no room for {key.words} on the GPU: {last_words()}")
        self._entry, self._exit = self._tensor_names(trt)
        if self._exit != key.output or not self._context.set_input_shape(self._entry, key.shape):
            raise EngineError(f'the engine for {key.words} takes other input or gives "{self._exit}": {last_words()}')
        self.output_shape = tuple(self._context.get_tensor_shape(self._exit))
        self.n_layers = self._engine.num_layers

    def layers(self) -> str:
        """What the engine inspector says, JSON."""
        inspector = self._engine.create_engine_inspector()
        return str(inspector.get_engine_information(tensorrt().LayerInformationFormat.JSON))

    def bind(self, entry_address: int, exit_address: int) -> None:
        """Where on the GPU the input lies and the output goes."""
        for name, address in ((self._entry, entry_address), (self._exit, exit_address)):
            if not self._context.set_tensor_address(name, address):
                raise EngineError(f'TensorRT refuses the memory for "{name}" of {self._words}: {last_words()}')

    def enqueue(self, stream: Any) -> None:
        """Put the network's kernels on the stream."""
        if not self._context.execute_async_v3(int(stream)):
            raise EngineError(f"TensorRT cannot run {self._words}: {last_words()}")

    def close(self) -> None:
        """In the order that TensorRT wants."""
        self._context = None
        self._engine = None
        self._runtime = None

    def _tensor_names(self, trt: Any) -> tuple[str, str]:
        """Input and output, one of each, both float32: their buffers are allocated for that."""
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        if any(self._engine.get_tensor_dtype(name) != trt.DataType.FLOAT for name in names):
            raise EngineError(f"the engine for {self._words} does not take and give float32")
        modes = [self._engine.get_tensor_mode(name) for name in names]
        if sorted(modes, key=int) != [trt.TensorIOMode.INPUT, trt.TensorIOMode.OUTPUT]:
            raise EngineError(
                f"the engine for {self._words} must have one input and one output, not {', '.join(names)}"
            )
        entry = modes.index(trt.TensorIOMode.INPUT)
        return names[entry], names[1 - entry]
