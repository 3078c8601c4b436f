"""Real MMCores that tests can watch, make fail and make hang; and one with the manners of the Java bridge."""

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pymmcore
import pytest

from acquisition.micromanager.core_calls import Foreign


@dataclass
class Watched:
    """The cores that a test has opened, what was called on them, and what goes wrong on purpose."""

    cores: list[pymmcore.CMMCore] = field(default_factory=list)
    calls: list[tuple[str, tuple[object, ...]]] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)
    hanging: set[str] = field(default_factory=set)
    ignored: set[str] = field(default_factory=set)
    """Calls that the device takes and does not obey."""
    at: dict[str, Callable[[], None]] = field(default_factory=dict)
    """What the test wants to do right before a call, in the core's thread."""
    release: threading.Event = field(default_factory=threading.Event)
    """Lets go of calls that hang; set when the test is over."""

    @property
    def core(self) -> pymmcore.CMMCore:
        """The core itself, for a second opinion on what the devices did."""
        return self.cores[-1]

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def before(self, name: str, args: tuple[object, ...]) -> None:
        """What happens ahead of every call."""
        self.calls.append((name, args))
        if name in self.at:
            self.at[name]()
        if name in self.hanging:
            self.release.wait(60.0)
        if name in self.failing:
            raise RuntimeError(f"{name} was made to fail")


class WatchedCore:
    """What the driver gets instead of a CMMCore: a CMMCore that reports to `Watched`."""

    def __init__(self, watched: Watched) -> None:
        self._watched, self._core = watched, pymmcore_core()
        watched.cores.append(self._core)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(self._core, name)

        def call(*args: object) -> Foreign:
            self._watched.before(name, args)
            return None if name in self._watched.ignored else function(*args)

        return call


REAL_CORE = pymmcore.CMMCore


def pymmcore_core() -> pymmcore.CMMCore:
    core = REAL_CORE()
    core.enableStderrLog(False)
    return core


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """Every pymmcore core that the test opens is watched."""
    watched = Watched()
    monkeypatch.setattr(pymmcore, "CMMCore", lambda: WatchedCore(watched))
    yield watched
    watched.release.set()


# --- as over the Java bridge ------------------------------------------------------------------------------


class Vector:
    """A Java vector: no list."""

    def __init__(self, items: tuple[str, ...]) -> None:
        self._items = items

    def size(self) -> int:
        return len(self._items)

    def get(self, i: int) -> str:
        return self._items[i]


class TaggedImage:
    """Each access to `pix` or `tags` is a transfer of its own."""

    def __init__(self, pix: np.ndarray[Any, Any], tags: dict[str, str], transfers: list[str]) -> None:
        self._pix, self._tags, self._transfers = pix, tags, transfers

    @property
    def pix(self) -> np.ndarray[Any, Any]:
        self._transfers.append("pix")
        return self._pix.copy()

    @property
    def tags(self) -> dict[str, str]:
        self._transfers.append("tags")
        return dict(self._tags)


class JavaLikeCore:
    """A real MMCore with the bridge's manners: names, types, errors, silence after the server's death."""

    def __init__(self, watched: Watched, config: str, adapters: str) -> None:
        self._watched, self._core = watched, pymmcore_core()
        self._core.setDeviceAdapterSearchPaths([adapters])
        self._core.loadSystemConfiguration(config)
        self._names = {snake(name): name for name in dir(REAL_CORE) if not name.startswith("_")}
        self.transfers: list[str] = []
        watched.cores.append(self._core)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in self._names and name not in OWN:
            raise AttributeError(f"'mmcorej_CMMCore' object has no attribute '{name}'")

        def call(*args: object) -> Foreign:
            self._watched.before(name, args)
            if "server" in self._watched.hanging:
                self._watched.release.wait(60.0)
            if any(type(arg) not in (bool, int, float, str) for arg in args) or (
                name == "set_property" and type(args[-1]) is not str
            ):
                raise Exception("Incorrect arguments. \nExpected one of: ...")
            try:
                return self._answer(name, args)
            except (RuntimeError, OSError) as error:
                raise Exception(f"java.lang.Exception: {error}\n\tat mmcorej.MMCoreJJNI(Native Method)") from None

        return call

    def _answer(self, name: str, args: tuple[Any, ...]) -> Foreign:
        if name == "get_pixel_size_affine_as_string":
            return ";".join(str(float(value)) for value in self._core.getPixelSizeAffine())
        if name == "pop_next_tagged_image":
            metadata = pymmcore.Metadata()
            pix = self._core.popNextImageMD(metadata)
            tags = {key: metadata.GetSingleTag(key).GetValue() for key in metadata.GetKeys()}
            return TaggedImage(pix.ravel(), tags, self.transfers)
        answer = getattr(self._core, self._names[name])(*args)
        if name == "get_roi":
            return SimpleNamespace(**dict(zip(("x", "y", "width", "height"), answer, strict=True)))
        if isinstance(answer, np.ndarray):
            return answer.ravel()
        if isinstance(answer, tuple):
            return Vector(answer)
        return int(answer) if isinstance(answer, float) and answer.is_integer() else answer


OWN = ("get_pixel_size_affine_as_string", "pop_next_tagged_image")


def snake(name: str) -> str:
    words = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z0-9])([A-Z])", r"\1_\2", words).lower()
