"""ONNX → TensorRT plan file, in a process of its own and before a run.

build_if_needed(model, output, shape, settings, tell)                        from a program
python -m models.engines.tensorrt_build nuclei deep_watershed 1x1x512x512    by hand

A build takes up to minutes and gigabytes, measures kernels on the GPU, and may crash: so never in the loop's process.
"""

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from filelock import FileLock, Timeout

from acquisition.clock import NS_PER_S, SystemClock
from models.engines.cuda_runtime import Gpu
from models.engines.engine import EngineError, EngineSettings, Precision
from models.engines.half import half_precision
from models.engines.parity import needed_shapes
from models.engines.tensorrt_cache import (
    PlanKey,
    PlanRefused,
    TimingKey,
    build_lock,
    read_plan,
    read_timings,
    times,
    write_plan,
    write_timings,
)
from models.engines.tensorrt_library import find_origin, last_words, logger, tensorrt
from models.engines.tensorrt_plans import (
    PRECISIONS,
    Shape,
    allowed_precisions,
    build_command,
    plan_key,
)
from models.manifest import Model, ModelError, find_model

Tell = Callable[[str], None]
WORKSPACE_SHARE, WORKSPACE_BYTES = 4, 4 << 30
"""A kernel may use a quarter of the GPU's memory while it is tried, and at most 4 GiB: others draw on it, too."""


def build_if_needed(model: Model, output: str, shape: Shape, settings: EngineSettings, tell: Tell) -> None:
    """Make sure that what `open_engine` needs is built, in the best precision that the settings allow.

    Builds run in a process of their own; what they say goes to `tell`, line by line. Raises EngineError.
    """
    origin, _ = find_origin()
    precision = allowed_precisions(settings)[0]
    for each in needed_shapes(model, shape):
        key = plan_key(model, output, each, precision, origin)
        try:
            read_plan(key)
        except PlanRefused as refusal:
            tell(f"{refusal}; building it")
            _run(build_command(model, output, each, precision), key, tell)
            read_plan(key)


def build_plan(model: Model, output: str, shape: Shape, precision: Precision, tell: Tell) -> PlanKey:
    """Build here and now, unless another process was faster. Raises EngineError or ModelError."""
    origin, gpu = find_origin()
    key = plan_key(model, output, shape, precision, origin)
    with _held(build_lock(key), tell):
        try:
            read_plan(key)
        except PlanRefused:
            _build(key, model.onnx_bytes(), gpu, tell)
        else:
            tell(f"the engine for {key.words} is ready")
    return key


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m models.engines.tensorrt_build", description=__doc__.splitlines()[0]
    )
    parser.add_argument("model", help="a shipped model, or the folder of one of yours")
    parser.add_argument("output", help="the output that is wanted, for instance deep_watershed")
    parser.add_argument("shape", help="of the batch, for instance 1x1x512x512", type=_shape)
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0])
    asked = parser.parse_args(arguments)
    try:
        build_plan(find_model(asked.model), asked.output, asked.shape, asked.precision, _say)
    except (EngineError, ModelError) as error:
        _say(f"error: {error}")
        return 1
    return 0


def _held(lock: FileLock, tell: Tell) -> AbstractContextManager[object]:
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        tell("another process is building this engine; waiting for it")
        return lock.acquire()


def _build(key: PlanKey, network: bytes, gpu: Gpu, tell: Tell) -> None:
    clock = SystemClock()
    begin_ns = clock.now_ns()
    tell(f"building the TensorRT engine for {key.words} on {gpu.name}")
    timing_key = TimingKey(key.origin)
    plan, timings = serialized(
        half_precision(network) if key.precision == "fp16" else network,
        key,
        read_timings(timing_key),
        min(gpu.memory_bytes // WORKSPACE_SHARE, WORKSPACE_BYTES),
        tell,
    )
    write_plan(key, plan)
    write_timings(timing_key, timings)
    tell(f"built in {(clock.now_ns() - begin_ns) / NS_PER_S:.0f} s: {key.path} ({len(plan) / 1e6:.1f} MB)")


def serialized(network: bytes, key: PlanKey, timings: bytes, workspace_bytes: int, tell: Tell) -> tuple[bytes, bytes]:
    """Plan, and the kernel speeds measured for it. Raises EngineError with TensorRT's reasons."""
    trt = tensorrt()
    try:
        builder = trt.Builder(logger())
    except TypeError as error:  # what its bindings raise for a builder that C++ could not make
        raise EngineError(f"TensorRT cannot use this GPU: {last_words()}") from error
    # TensorRT 11 knows no other networks and ignores the flag; in TensorRT 10 it is what makes fp16 mean fp16.
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(definition, logger())
    if not parser.parse(network):
        reasons = " | ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise EngineError(f"TensorRT cannot read the network of {key.words}: {reasons or last_words()}")
    _keep_only(definition, key)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
    config.clear_flag(trt.BuilderFlag.TF32)  # else fp32 would be computed with fp16's 10 bits of mantissa
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the inspector can then name kernels and formats
    monitor = progress_monitor(trt, tell)  # lives in this variable: the builder knows only its address
    config.progress_monitor = monitor
    _fix_shape(builder, config, definition.get_input(0), key.shape)
    cache = _timing_cache(config, timings)
    plan = builder.build_serialized_network(definition, config)
    if plan is None:
        raise EngineError(f"TensorRT could not build {key.words}: {last_words()}")
    return bytes(plan), bytes(cache.serialize())


def _keep_only(definition: Any, key: PlanKey) -> None:
    """Outputs that nobody wants are not computed."""
    outputs = [definition.get_output(i) for i in range(definition.num_outputs)]
    if key.output not in [each.name for each in outputs]:
        raise EngineError(
            f'the network of {key.model} has no output "{key.output}"; it has {", ".join(each.name for each in outputs)}'
        )
    if definition.num_inputs != 1:
        raise EngineError(f"the network of {key.model} has {definition.num_inputs} inputs; one is served")
    for each in outputs:
        if each.name != key.output:
            definition.unmark_output(each)


def _fix_shape(builder: Any, config: Any, entry: Any, shape: Shape) -> None:
    """Least, best and largest shape are one, so that TensorRT chooses for exactly this one."""
    wanted = tuple(entry.shape)
    if len(wanted) != len(shape) or any(asked not in (-1, given) for asked, given in zip(wanted, shape, strict=True)):
        raise EngineError(f'the network takes "{entry.name}" of shape {times(wanted)} (-1: any), not {times(shape)}')
    profile = builder.create_optimization_profile()
    profile.set_shape(entry.name, shape, shape, shape)
    if config.add_optimization_profile(profile) < 0:
        raise EngineError(f"TensorRT refuses the shape {times(shape)}: {last_words()}")


def _timing_cache(config: Any, timings: bytes) -> Any:
    """Speeds measured before, or a fresh collection where TensorRT does not accept them."""
    for content in (timings, b""):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return cache
    raise EngineError(f"TensorRT makes no timing cache: {last_words()}")


def progress_monitor(trt: Any, tell: Tell) -> Any:
    """Tells the two outer levels of TensorRT's phases, each at most ten times."""

    class Progress(trt.IProgressMonitor):  # type: ignore[misc]  # the class exists only once TensorRT is loaded
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}
            self._inner: set[str] = set()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is not None and (parent_phase not in self._steps or parent_phase in self._inner):
                return
            self._steps[phase_name] = num_steps
            if parent_phase is not None:
                self._inner.add(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            steps = self._steps.get(phase_name, 0)
            if steps and (step + 1) * 10 // steps > step * 10 // steps:
                tell(f"  {phase_name}: {100 * (step + 1) // steps} %")
            return True  # False would end the build

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)
            self._inner.discard(phase_name)

    return Progress()


def _run(command: list[str], key: PlanKey, tell: Tell) -> None:
    last = "it said nothing"
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process,
        ExitStack() as interrupted,
    ):
        interrupted.callback(process.kill)
        assert process.stdout is not None
        for line in process.stdout:
            last = line.rstrip()
            tell(last)
        interrupted.pop_all()
    if process.returncode:
        how = f"signal {-process.returncode}" if process.returncode < 0 else f"exit status {process.returncode}"
        raise EngineError(
            f"building the TensorRT engine for {key.words} failed ({how}): {last.removeprefix('error: ')}"
        )


def _shape(text: str) -> Shape:
    return tuple(int(part) for part in text.split("x"))


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # TensorRT's C++ would not hear of Ctrl-C; half a plan is never seen
    sys.exit(main())
