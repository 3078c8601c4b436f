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
    "openvino": "CPU engine for networks",
    "onnxruntime": "CPU engine for networks",
    "torch": "training, and an engine",
    "tensorrt": "GPU engine for networks",
}
MICROSCOPES = {
    "pymmcore": 'Micro-Manager core, in process (core = "pymmcore")',
    "pymmcore_plus": 'the same with more convenience (core = "pymmcore-plus")',
    "pycromanager": 'Micro-Manager through pycromanager (core = "python" or "java")',
    "mm_test_adapters": "DemoCamera for hardware_configs/micromanager_demo.toml",
}


def report() -> Iterator[str]:
    """Lines of text."""
    yield "versions"
    for name, version in versions().items():
        yield f"  {name:<24} {version}"
    yield "machine"
    memory = psutil.virtual_memory()
    yield f"  {platform.machine()}, {os.cpu_count()} cores, {memory.total / 1e9:.1f} GB memory, {memory.available / 1e9:.1f} free"
    yield f"  frames between processes go through {RING_FOLDER} ({shutil.disk_usage(RING_FOLDER).free / 1e9:.1f} GB free)"
    yield f"  sessions here go to a disk with {shutil.disk_usage(Path.cwd()).free / 1e9:.1f} GB free"
    for name in remove_orphans():
        yield f"  removed {name}, left behind by a run that was killed"
    yield "microscopes"
    yield from _installed(MICROSCOPES)
    yield "engines"
    yield from _installed(ENGINES)
    yield "  in use: none. The threshold segmenter, the default of this version, needs no engine (numpy and OpenCV, on the CPU)."


def _installed(modules: dict[str, str]) -> Iterator[str]:
    for module, purpose in modules.items():
        state = "installed" if importlib.util.find_spec(module) else "not installed"
        yield f"  {module:<24} {state:<14} {purpose}"
