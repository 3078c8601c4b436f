"""TensorRT's run time and builder, computing with ONNX Runtime; see README.md beside it."""

import ctypes
import json
import os
import signal
import weakref
from enum import IntEnum
from typing import Any

import numpy as np
import onnxruntime
from cuda.bindings import runtime as cuda

__version__ = os.environ.get("PRETEND_TENSORRT", "11.4.0")
MAGIC = b"pretended plan "


def _fails(step: str) -> bool:
    return os.environ.get("PRETEND_FAILURE") == step


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = Severity.INTERNAL_ERROR, Severity.ERROR, Severity.WARNING
    INFO, VERBOSE = Severity.INFO, Severity.VERBOSE

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError


class NetworkDefinitionCreationFlag(IntEnum):
    STRONGLY_TYPED = 0 if __version__.startswith("11.") else 1


class BuilderFlag(IntEnum):
    TF32 = 7


class MemoryPoolType(IntEnum):
    WORKSPACE = 0


class ProfilingVerbosity(IntEnum):
    DETAILED = 2


class TensorIOMode(IntEnum):
    INPUT = 1
    OUTPUT = 2


class DataType(IntEnum):
    FLOAT = 0
    HALF = 1


class LayerInformationFormat(IntEnum):
    JSON = 1


class ITensor:
    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name, self.shape = name, shape


class INetworkDefinition:
    def __init__(self) -> None:
        self.onnx, self.inputs, self.outputs = b"", [], []

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    @property
    def num_outputs(self) -> int:
        return len(self.outputs)

    def get_input(self, index: int) -> ITensor:
        return self.inputs[index]

    def get_output(self, index: int) -> ITensor:
        return self.outputs[index]

    def unmark_output(self, tensor: ITensor) -> None:
        self.outputs.remove(tensor)


class ParserError:
    def __init__(self, words: str) -> None:
        self._words = words

    def desc(self) -> str:
        return self._words


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._errors = network, []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def parse(self, model: bytes, path: str | None = None) -> bool:
        try:
            session = _session(model)
        except Exception as error:  # whatever ONNX Runtime raises
            self._errors = [ParserError(str(error))]
            return False
        self._network.onnx = model
        for each, into in ((session.get_inputs(), "inputs"), (session.get_outputs(), "outputs")):
            assert all(end.type == "tensor(float)" for end in each), "our buffers are float32"
            shapes = [tuple(n if isinstance(n, int) else -1 for n in end.shape) for end in each]
            setattr(self._network, into, [ITensor(end.name, shape) for end, shape in zip(each, shapes, strict=True)])
        return True

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]


class IOptimizationProfile:
    _shapes: dict[str, tuple[int, ...]]

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        assert min == opt == max
        self._shapes = {input: tuple(opt)}


class ITimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content or b"timings of " + __version__.encode()


class IBuilderConfig:
    profiling_verbosity: ProfilingVerbosity
    progress_monitor: IProgressMonitor
    _profile: IOptimizationProfile
    _cache: "weakref.ref[ITimingCache]"
    _tf32 = True

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        assert pool == MemoryPoolType.WORKSPACE
        assert 0 < pool_size <= 4 << 30

    def clear_flag(self, flag: BuilderFlag) -> None:
        assert flag == BuilderFlag.TF32
        self._tf32 = False

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profile = profile
        return 0

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        return None if serialized_timing_cache == b"nonsense" else ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self._cache = weakref.ref(cache)
        return True


class Builder:
    def __init__(self, logger: ILogger) -> None:
        if _fails("builder"):
            raise TypeError("pybind11::init(): factory function returned nullptr")  # the real one's words
        self._logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes | None:
        assert config._cache() is not None, "it must live until the engine is built"
        monitor, (output,) = config.progress_monitor, network.outputs
        monitor.phase_start("Building", None, 2)
        monitor.phase_start("Tactics", "Building", 40)
        for step in range(40):
            monitor.phase_start("Inner", "Tactics", 1)
            monitor.step_complete("Inner", 0)
            monitor.phase_finish("Inner")
            assert monitor.step_complete("Tactics", step)
        monitor.phase_finish("Tactics")
        if _fails("crash"):
            self._logger.log(ILogger.ERROR, "[pretended] out of everything")
            os.kill(os.getpid(), signal.SIGKILL)  # as a crash, but without a core dump
        if _fails("build"):
            self._logger.log(ILogger.ERROR, "[pretended] no kernel fits")
            return None
        monitor.step_complete("Building", 1)
        monitor.phase_finish("Building")
        assert not config._tf32
        header = {"output": output.name, "shapes": config._profile._shapes, "tensorrt": __version__}
        return MAGIC + json.dumps(header).encode() + b"\n" + network.onnx


class IExecutionContext:
    def __init__(self, engine: "ICudaEngine") -> None:
        self._engine, self._addresses = engine, {}
        self._shape: tuple[int, ...] = ()

    def __del__(self) -> None:
        cuda.history.append("context")

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shape = tuple(shape)
        return self._engine.shapes == {name: self._shape}

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert name == self._engine.output
        return self._engine._answer(np.zeros(self._shape, np.float32)).shape

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert name in (self._engine.entry, self._engine.output)
        self._addresses[name] = memory
        return not _fails("bind") and cuda.memory[memory][0] == "device"

    def execute_async_v3(self, stream_handle: int) -> bool:
        (stream,) = (each for each in cuda.held if isinstance(each, cuda.cudaStream_t) and int(each) == stream_handle)
        if _fails("execute"):
            return False
        source, target, engine = self._addresses[self._engine.entry], self._addresses[self._engine.output], self._engine
        cuda.enqueue(stream, lambda: _compute(engine, self._shape, source, target), source, target)
        return True


class EngineInspector:
    def get_engine_information(self, format: LayerInformationFormat) -> str:
        return json.dumps({"Layers": []})


class ICudaEngine:
    def __init__(self, header: dict[str, Any], network: bytes) -> None:
        self.output = header["output"]
        self.shapes = {name: tuple(shape) for name, shape in header["shapes"].items()}
        (self.entry,) = self.shapes
        self._session = _session(network)

    def __del__(self) -> None:
        cuda.history.append("engine")

    @property
    def num_io_tensors(self) -> int:
        return 2

    @property
    def num_layers(self) -> int:
        return 7

    def get_tensor_name(self, index: int) -> str:
        return (self.output, self.entry)[index]  # no order is promised

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name == self.entry else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.FLOAT

    def create_execution_context(self, strategy: int = 0) -> IExecutionContext | None:
        return None if _fails("context") else IExecutionContext(self)

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector()

    def _answer(self, batch: Any) -> Any:
        return self._session.run([self.output], {self.entry: batch})[0]


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def __del__(self) -> None:
        cuda.history.append("runtime")

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        header, _, network = serialized_engine.removeprefix(MAGIC).partition(b"\n")
        if not serialized_engine.startswith(MAGIC) or json.loads(header)["tensorrt"] != __version__:
            self._logger.log(ILogger.ERROR, "[pretended] the plan is not of this version")
            return None
        return ICudaEngine(json.loads(header), network)


def _compute(engine: ICudaEngine, shape: tuple[int, ...], source: int, target: int) -> None:
    batch = np.ctypeslib.as_array((ctypes.c_float * int(np.prod(shape))).from_address(source)).reshape(shape)
    answer = engine._answer(batch)
    assert cuda.memory[target][2] == answer.nbytes
    ctypes.memmove(target, answer.ctypes.data, answer.nbytes)


def _session(network: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(network, options, ["CPUExecutionProvider"])
