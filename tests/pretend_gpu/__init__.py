"""A pretended GPU for one test; what it can and cannot show is in README.md beside this file."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

PACKAGES = Path(__file__).parent
PRETENDED = ("cuda", "tensorrt")


@contextmanager
def pretended_gpu(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[ModuleType]:
    """NVIDIA's packages are ours, here and in child processes, and engines are kept in `cache`. Gives the CUDA runtime."""
    hidden = {name: sys.modules.pop(name) for name in _loaded()}
    with monkeypatch.context() as patch:
        patch.setenv("REFLEXSCOPE_CACHE", str(cache))
        patch.setenv("PYTHONPATH", str(PACKAGES))
        patch.setattr(sys, "path", [str(PACKAGES), *sys.path])
        from cuda.bindings import runtime

        yield runtime
    for name in _loaded():
        del sys.modules[name]
    sys.modules.update(hidden)


def _loaded() -> list[str]:
    return [name for name in sys.modules if name.split(".")[0] in PRETENDED]
