"""session.toml: the resolved config of a run and the versions of everything that made it."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec
import numpy

from acquisition.clock import SystemClock, utc_now
from realtime.config import RunConfig, resolved
from realtime.wire import VERSION

PACKAGES = (
    "reflexscope",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "numba",
    "openvino",
    "msgspec",
    "pyzmq",
    "tensorstore",
    "pymmcore",
    "pycromanager",
)


def session_toml(run: str, config: RunConfig) -> str:
    """The text of session.toml: `[session]`, `[versions]`, and the config under `[config]`."""
    document = {
        "session": {
            "run": run,
            "started_utc": utc_now(),
            "started_ns": SystemClock().now_ns(),
            "wire_version": VERSION,
        },
        "versions": versions(),
        "config": _without_none(resolved(config)),
    }
    return msgspec.toml.encode(document).decode()


def versions() -> dict[str, str]:
    """Python, the machine, and the packages that a result may depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform(), "numpy": numpy.__version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _without_none(value: Any) -> Any:
    """TOML has no null: a key left out means the same to the loader."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, (list, tuple)) else value
