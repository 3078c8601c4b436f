"""`reflexscope doctor`: what is installed and what would be used, for people and for bug reports."""

import importlib.util
import os
import platform
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil

from models.engines.choose import NEEDS, missing, open_engine
from models.engines.engine import EngineError, EngineSettings
from models.manifest import PARITY_INPUT, ModelError, SegmenterManifest, find_model, shipped_names
from realtime.ring import RING_FOLDER, remove_orphans
from realtime.session.header import versions

ENGINES = {
    "openvino": "networks on the CPU",
    "onnxruntime": "networks on the CPU",
    "torch": "training, and networks",
    "tensorrt": "networks on an NVIDIA GPU",
}
MICROSCOPES = {
    "pymmcore": 'core = "pymmcore"',
    "pymmcore_plus": 'core = "pymmcore-plus"',
    "pycromanager": 'core = "java" or "python"',
    "mm_test_adapters": "devices of micromanager_demo.toml",
}

WIDTH = 80


def report() -> Iterator[str]:
    """Lines of text."""
    yield "versions"
    for name, version in versions().items():
        yield f"  {name:<24} {version}"
    yield "machine"
    memory = psutil.virtual_memory()
    yield f"  {platform.machine()}, {os.cpu_count()} cores"
    yield f"  {memory.total / 1e9:.1f} GB memory, {memory.available / 1e9:.1f} GB free"
    yield f"  frames between processes go through {RING_FOLDER} ({shutil.disk_usage(RING_FOLDER).free / 1e9:.1f} GB free)"
    yield f"  sessions here go to a disk with {shutil.disk_usage(Path.cwd()).free / 1e9:.1f} GB free"
    for name in remove_orphans():
        yield f"  removed {name}, left by a killed run"
    yield "Micro-Manager"
    yield from _installed(MICROSCOPES)
    yield "engines"
    yield from _engines()
    yield "models, each on the engine that it would use, on one thread"
    for name in shipped_names():
        yield from textwrap.wrap(f"{name}: {_in_use(name)}", WIDTH, initial_indent="  ", subsequent_indent="    ")
    yield "  The threshold segmenter needs no engine: numpy and OpenCV do its work."


def _engines() -> Iterator[str]:
    for name, purpose in ENGINES.items():
        absent = missing(name)
        yield f"  {name:<24} {'not installed' if absent else 'installed':<14} {purpose}"
        if absent:
            yield f"    needs {' and '.join(absent)}: pip install {NEEDS[name][1]}"


def _in_use(name: str) -> str:
    """Opens the engine and checks it against the model's reference."""
    try:
        model = find_model(name)
        output = next(iter(model.manifest.methods)) if isinstance(model.manifest, SegmenterManifest) else "logits"
        engine = open_engine(model, output, model.parity()[PARITY_INPUT].shape, EngineSettings(threads=1))
    except (ModelError, EngineError) as error:
        return f"none. {error}"
    engine.close()
    return engine.choice.words


def _installed(modules: dict[str, str]) -> Iterator[str]:
    for module, purpose in modules.items():
        state = "installed" if importlib.util.find_spec(module) else "not installed"
        yield f"  {module:<24} {state:<14} {purpose}"
