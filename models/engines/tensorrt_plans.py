"""Which built engines (plans) a request needs, whether they are ready, and what builds them."""

import shlex
import subprocess
import sys

from models.engines.engine import EngineError, EngineSettings, Precision
from models.engines.tensorrt_cache import PlanKey, PlanRefused, read_plan, times
from models.engines.tensorrt_library import Origin, find_origin
from models.manifest import Model

Shape = tuple[int, ...]
PRECISIONS: tuple[Precision, ...] = ("fp16", "fp32")
"""What is built, the fastest first: every GPU that TensorRT 10 and later support computes fp16 natively."""


def allowed_precisions(settings: EngineSettings) -> tuple[Precision, ...]:
    """Those that the settings allow, the fastest first. Raises EngineError."""
    if settings.precision == "auto":
        return PRECISIONS
    if settings.precision not in PRECISIONS:
        raise EngineError(f'TensorRT engines are built in {" or ".join(PRECISIONS)}, not in "{settings.precision}"')
    return (settings.precision,)


def plan_key(model: Model, output: str, shape: Shape, precision: Precision, origin: Origin) -> PlanKey:
    """What the plan for this request must say of itself on this machine."""
    return PlanKey(model.manifest.name, model.manifest.sha256, output, shape, precision, origin)


def ready_plan(model: Model, output: str, shape: Shape, settings: EngineSettings) -> tuple[PlanKey, bytes]:
    """The best plan that the settings allow and that is built. Raises EngineError, and says how to build it."""
    origin, _ = find_origin()
    refusals = []
    for precision in allowed_precisions(settings):
        key = plan_key(model, output, shape, precision, origin)
        try:
            return key, read_plan(key)
        except PlanRefused as refusal:
            refusals.append(refusal)
    command = build_command(model, output, shape, allowed_precisions(settings)[0])
    words = subprocess.list2cmdline(command) if sys.platform == "win32" else shlex.join(command)
    raise EngineError(f"{refusals[0]}; build it before the run: {words}")


def build_command(model: Model, output: str, shape: Shape, precision: Precision) -> list[str]:
    """What builds the plan, as a command."""
    return [
        *(sys.executable, "-m", "models.engines.tensorrt_build"),
        *(str(model.folder), output, times(shape), "--precision", precision),
    ]
