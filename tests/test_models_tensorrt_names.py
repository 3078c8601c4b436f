"""Does the pretended GPU have NVIDIA's names? Every class, member and parameter of it against the packages installed here.

pip install cuda-bindings tensorrt-lean-cu13-bindings tensorrt-lean-cu13-libs     import without a GPU; run time only
pip install "reflexscope[gpu]"                                                    everything
"""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from enum import IntEnum
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.pretend_gpu import pretended_gpu

TENSORRT = ("tensorrt", "tensorrt_lean", "tensorrt_lean_bindings")
BUILDER_ONLY = {
    *("Builder", "EngineInspector", "IBuilderConfig", "INetworkDefinition", "ITensor", "OnnxParser", "ParserError"),
    "NetworkDefinitionCreationFlag",
}
"""The lean run time, which cannot build, has none of these."""


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, ModuleType]:
    with pretended_gpu(monkeypatch, tmp_path) as runtime:
        import tensorrt

        return {"cuda": runtime, "tensorrt": tensorrt}


def real(*names: str) -> ModuleType:
    for name in names:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError):
            continue
    pytest.skip(f"none of {', '.join(names)} can be imported here")


def ours(module: ModuleType, kind: Callable[[Any], bool]) -> Iterator[tuple[str, Any]]:
    for name, member in vars(module).items():
        if kind(member) and member.__module__ == module.__name__ and not name.startswith("_"):
            yield name, member


def test_tensorrt(pretended: dict[str, ModuleType]) -> None:
    trt = real(*TENSORRT)
    lean = not hasattr(trt, "Builder")
    wrong = [
        problem
        for name, pretence in ours(pretended["tensorrt"], inspect.isclass)
        if not (lean and name in BUILDER_ONLY)
        for problem in differences(name, pretence, severity_of(trt) if name == "Severity" else getattr(trt, name, None))
    ]
    assert not wrong, f"{trt.__name__} {trt.__version__}: " + "; ".join(wrong)


def test_cuda(pretended: dict[str, ModuleType]) -> None:
    cuda = real("cuda.bindings.runtime")
    wrong = [
        f"{name}({', '.join(there)}), not {here}"
        for name, function in ours(pretended["cuda"], inspect.isfunction)
        if name.startswith("cuda")
        for here, there in [(parameters(function), c_parameters(getattr(cuda, name)))]
        if here != there
    ]
    for name, pretence in ours(pretended["cuda"], lambda member: isinstance(member, type(IntEnum))):
        wrong += [
            f"{name}.{member.name}"
            for member in pretence
            if getattr(cuda, name).__members__[member.name] != member.value
        ]
    values = {
        name: value
        for name, value in vars(pretended["cuda"]).items()
        if name.startswith("cuda") and isinstance(value, int)
    }
    assert {name: getattr(cuda, name) for name in values} == values
    assert not wrong, "; ".join(wrong)
    assert {"name", "major", "minor", "totalGlobalMem"} <= set(dir(cuda.cudaDeviceProp))
    assert int(cuda.cudaStream_t()) == 0, "a stream is a number for TensorRT"


def test_cuda_answers_in_tuples_also_without_a_gpu() -> None:
    cuda = real("cuda.bindings.runtime")
    error, version = cuda.cudaRuntimeGetVersion()
    assert error == 0
    assert version >= 12000


def differences(name: str, pretence: type, there: Any) -> Iterator[str]:
    """What the pretence has and the real class has not."""
    if there is None:
        yield name
    elif issubclass(pretence, IntEnum):
        yield from (f"{name}.{member.name}" for member in pretence if member.name not in there.__members__)
    else:
        for member in [*pretence.__annotations__, *vars(pretence)]:
            if member.startswith("_") and not (member == "__init__" and takes_arguments(pretence)):
                continue
            if not hasattr(there, member):
                yield f"{name}.{member}"
            elif inspect.isfunction(vars(pretence).get(member)):
                yield from signature_differences(f"{name}.{member}", vars(pretence)[member], getattr(there, member))


def signature_differences(name: str, pretence: Callable[..., Any], there: Any) -> Iterator[str]:
    """pybind11 writes each overload of a method into its docstring: `name(self: Class, parameter: type = default) -> type`."""
    overloads = re.findall(rf"{name.split('.')[-1]}\((self.*)\) -> ", there.__doc__)
    known = [re.findall(r"(\w+) ?: ", without_brackets(each))[1:] for each in overloads]
    if parameters(pretence)[1:] not in known:
        yield f"{name}{known}, not {parameters(pretence)[1:]}"


def without_brackets(text: str) -> str:
    while (shorter := re.sub(r"\[[^\[\]]*\]|<[^<>]*>|\([^()]*\)", "", text)) != text:
        text = shorter
    return text


def takes_arguments(pretence: type) -> bool:
    """Classes that we make ourselves; the others come out of calls."""
    return pretence.__name__ in ("Builder", "OnnxParser", "Runtime")


def parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def c_parameters(function: Any) -> list[str]:
    """`cudaMalloc(size_t size)` → size"""
    inside = function.__doc__.splitlines()[0].partition("(")[2].rpartition(")")[0]
    return [each.split(":")[0].split()[-1] for each in inside.split(",") if each.strip()]


def severity_of(trt: ModuleType) -> Any:
    return trt.ILogger.Severity
