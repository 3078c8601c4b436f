"""`reflexscope doctor`: what is installed and what would be used, for people and for bug reports."""

import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

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
    yield from _installed(ENGINES)
    yield "  in use: none. The threshold segmenter, the default of this version, needs"
    yield "  no engine: numpy and OpenCV do its work on the CPU."


def _installed(modules: dict[str, str]) -> Iterator[str]:
    for module, purpose in modules.items():
        state = "installed" if importlib.util.find_spec(module) else "not installed"
        yield f"  {module:<24} {state:<14} {purpose}"
