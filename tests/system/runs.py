"""Real runs for the tests of this folder: separate processes, small images, and a deadline on every wait."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import psutil
import tomli_w
import yaozarrs

from acquisition.clock import NS_PER_MS, NS_PER_S, SystemClock
from acquisition.commands import Command, Outcome
from acquisition.replayed.movies import open_session
from acquisition.replayed.recorded import MovieError
from realtime.config import load_config
from realtime.processes.supervisor import Result, Supervisor
from realtime.ring import RING_FOLDER
from realtime.session.reader import SessionReader
from realtime.wire import AnyMessage, FrameReady, Notice, OperatorCommand, OutcomeReached, RunEnded, Status
from tests.polling import wait_until
from tests.system.witness import Entry, read_diary

ROOT = Path(__file__).resolve().parents[2]
CLOCK = SystemClock()
PATIENCE_S = 30.0
"""For what has no limit in the requirements; a busy machine may take its time."""

Table = dict[str, Any]
STEADY: Table = {"use": "tests.rogue_policies:Steady", "name": "steady"}
"""A well-behaved policy that decides again and again."""
SMALL: Table = {
    "rig": {"name": "system test"},
    "imaging": {"interval_ms": 40.0, "exposure_ms": 5.0},
    "limits": {
        "x_um": [-200.0, 200.0], "y_um": [-200.0, 200.0], "exposure_ms": [1.0, 20.0], "interval_ms": [10.0, 1000.0],
        "pulse_ms": 10_000.0, "pulse_tolerance_ms": 50.0,
    },
    "segmenter": {"use": "threshold"},
    "inference": {"deadline_ms": 1000.0},
    "recorder": {"min_free_gb": 0.01},
    "ring": {"megabytes": 20.0},
}  # fmt: skip
SIMULATED: Table = {
    "use": "tests.system.witness:WitnessedMicroscope", "height_px": 128, "width_px": 128, "n_cells": 6,
    "specimen_um": [500.0, 500.0], "stage": {"settle_ms": 0.0},
}  # fmt: skip
DEMO_CAMERA: Table = {
    "use": "micromanager", "mode": "stream", "shutter": "Shutter", "light": "Light.Voltage", "trigger": "Trigger",
}  # fmt: skip


def simulated_config(folder: Path, policies: Sequence[Table] = (STEADY,), **sections: Table) -> Path:
    """A config file for a small simulated rig with a diary; `sections` change single keys."""
    microscope = SIMULATED | {"diary": str(folder / "diary.jsonl")} | sections.pop("microscope", {})
    return _write_config(folder, microscope, policies, sections)


def demo_camera_config(
    folder: Path, channels: Iterable[str] = (), policies: Sequence[Table] = (STEADY,), **sections: Table
) -> Path:
    """A config file for a real MMCore; `channels` are lines such as `Name,Device,Property,Value`.

    It comes with a Micro-Manager configuration of its own, so that no other run has the same rig.
    """
    lines = (ROOT / "hardware_configs" / "micromanager_demo.cfg").read_text(encoding="utf-8").splitlines()
    lines += ["Property,Camera,OnCameraCCDXSize,256", "Property,Camera,OnCameraCCDYSize,256"]
    lines += [f"ConfigGroup,Channel,{channel}" for channel in channels]
    cfg = folder / "demo.cfg"
    cfg.write_text("\n".join(lines) + "\n", encoding="utf-8")
    microscope = DEMO_CAMERA | {"config_file": str(cfg)} | sections.pop("microscope", {})
    sections["imaging"] = {"channel": "GFP"} | sections.get("imaging", {})
    return _write_config(folder, microscope, policies, sections)


def _write_config(folder: Path, microscope: Table, policies: Sequence[Table], sections: Table) -> Path:
    tables = {name: SMALL.get(name, {}) | sections.get(name, {}) for name in SMALL | sections}
    path = folder / "rig.toml"
    path.write_text(tomli_w.dumps(tables | {"microscope": microscope, "policy": list(policies)}), encoding="utf-8")
    return path


class Run:
    """One run under the supervisor, which makes its steps here, in the test's own thread."""

    def __init__(self, config: Path, folder: Path, duration_s: float | None = None) -> None:
        self.folder = folder
        self.config_folder = config.parent
        self.told: list[AnyMessage] = []
        """Everything that came by telemetry."""
        self.supervisor = Supervisor(load_config(config), folder, duration_s, self.told.append)
        self._stack = contextlib.ExitStack()
        self._n_commands = 0

    def __enter__(self) -> "Run":
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.supervisor)
            self.supervisor.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for child in self.supervisor.children.values():
            if error is not None and child.process.poll() is None:
                child.process.kill()  # a test that failed does not wait for what it broke
        self._stack.close()

    # --- going on ------------------------------------------------------------------------------------------------

    def step_until(self, condition: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
        """Let the supervisor work until `condition` holds; fail loudly after `timeout_s`."""
        until_ns = CLOCK.now_ns() + round(timeout_s * NS_PER_S)
        while not condition():
            ended = self.supervisor.children["acquisition"].gone
            assert CLOCK.now_ns() < until_ns, f"not within {timeout_s:g} s: {what}\n{self.account()}"
            assert not ended, f"the run ended before: {what}\n{self.account()}"
            self.supervisor.step()

    def take_frames(self, n: int) -> None:
        """Until so many more frames have been taken."""
        n += self.status.frames if self.status else 0
        self.step_until(lambda: self.status is not None and self.status.frames >= n, f"frame {n} was taken")

    def to_the_end(self, timeout_s: float = PATIENCE_S) -> Result:
        """Until the run has ended by itself."""
        self.step_until(lambda: self.supervisor.children["acquisition"].gone, "the run has ended", timeout_s)
        return self.supervisor.supervise()

    def finish(self) -> Result:
        """Ask for the end."""
        self.supervisor.stop("the test is over")
        return self.to_the_end()

    def order(self, command: Command) -> str:
        """What an operator would send; the id under which its outcome comes."""
        self._n_commands += 1
        name = f"test.{self._n_commands}"
        run = self.supervisor.run
        self.supervisor.command(OperatorCommand(run=run, id=name, command=command, who="test", why="system test"))
        return name

    def signal(self, role: str, number: int = signal.SIGKILL) -> int:
        """Send a process of the run a signal; the moment right before, ns."""
        before_ns = CLOCK.now_ns()
        os.kill(self.pid(role), number)
        return before_ns

    # --- looking -------------------------------------------------------------------------------------------------

    def pid(self, role: str) -> int:
        return self.supervisor.children[role].process.pid

    @property
    def status(self) -> Status | None:
        """The latest."""
        return next((message for message in reversed(self.told) if isinstance(message, Status)), None)

    def figure(self, name: str) -> float:
        """Of the latest status; 0 if it is not there."""
        return self.status.figures.get(name, 0.0) if self.status else 0.0

    def outcomes(self) -> dict[str, Outcome]:
        """By id, as told."""
        return {message.outcome.decision_id: message.outcome for message in of_kind(OutcomeReached, self.told)}

    def notices(self) -> str:
        return "\n".join(f"{notice.level} {notice.source}: {notice.text}" for notice in of_kind(Notice, self.told))

    def diary(self) -> list[Entry]:
        return list(read_diary(self.config_folder / "diary.jsonl"))

    def account(self) -> str:
        """For failures: what was told and logged."""
        logs = [f"--- {path.name}\n{path.read_text()[-2000:]}" for path in sorted((self.folder / "logs").glob("*"))]
        return "\n".join([f"last status: {self.status}", self.notices(), *logs])


Kind = TypeVar("Kind")


def of_kind(kind: type[Kind], messages: Iterable[AnyMessage]) -> list[Kind]:
    return [message for message in messages if isinstance(message, kind)]


# --- sessions ----------------------------------------------------------------------------------------------------


@dataclass
class Recorded:
    """What a run left behind, read as a user would."""

    folder: Path
    messages: list[AnyMessage] = field(init=False)
    reader: SessionReader = field(init=False)

    def __post_init__(self) -> None:
        self.reader = SessionReader(self.folder)
        self.messages = list(self.reader.records())

    @property
    def indices(self) -> list[int]:
        """Of all frames in the journal."""
        return [message.header.index for message in of_kind(FrameReady, self.messages)]

    @property
    def end(self) -> RunEnded:
        """The run's last word."""
        (*_, end) = of_kind(RunEnded, self.messages)
        return end

    def notices(self) -> str:
        return "\n".join(notice.text for notice in of_kind(Notice, self.messages))

    def n_with_pixels(self) -> int:
        """Frames from the first on whose pixels are there and are those of a camera, not a file's empty fill."""
        n = self.reader.n_readable
        yaozarrs.validate_zarr_store(str(self.folder / "images.ome.zarr"))
        for index in self.indices[:n]:
            assert self.reader.pixels(index).any(), f"frame {index} is empty"
        return n

    def assert_whole(self) -> None:
        """No frame is missing anywhere between camera and disk."""
        assert self.indices == list(range(len(self.indices)))
        assert self.n_with_pixels() == len(self.indices)
        assert self.end.figures["frames_lost_by_camera"] == 0
        assert self.end.figures.get("frames_dropped", 0) == 0


def assert_nothing_of(run: str) -> None:
    """No shared memory of this run is left."""
    assert not list(RING_FOLDER.glob(f"*{run}*"))


# --- the command line --------------------------------------------------------------------------------------------


class CommandLine:
    """`reflexscope …` in a process group of its own, as a terminal starts it; killed if the test fails."""

    def __init__(self, *arguments: object) -> None:
        words = [sys.executable, "-c", "from realtime.cli import main; main()", *map(str, arguments)]
        self.process = subprocess.Popen(
            words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def __enter__(self) -> "CommandLine":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.communicate()

    def family(self) -> list[psutil.Process]:
        """It and the processes it has started."""
        try:
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """What Ctrl-C does: the signal reaches the whole group."""
        os.killpg(self.process.pid, number)

    def end(self, timeout_s: float = PATIENCE_S) -> tuple[int, str, str]:
        """Exit status, stdout and stderr, once it has ended by itself."""
        out, err = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, out, err

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """`condition` holds while the command runs."""

        def holds() -> bool:
            assert self.process.poll() is None, f"it ended before: {what}\n{self.process.communicate()}"
            return condition()

        wait_until(holds, CLOCK, what, PATIENCE_S)


def frames_on_disk(folder: Path) -> int:
    """Of a run that goes on, as a reader sees it."""
    try:
        return len(open_session(folder))
    except MovieError:  # not one yet
        return 0


def wait_until_gone(processes: Iterable[psutil.Process], timeout_s: float) -> None:
    """All have ended; nobody may be there to collect an orphan's exit status, so a zombie counts as ended."""
    left = list(processes)

    def all_gone() -> bool:
        left[:] = [process for process in left if _runs(process)]
        return not left

    wait_until(all_gone, CLOCK, f"these ended: {left}", timeout_s)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def ms_between(since_ns: int, until_ns: int) -> float:
    return (until_ns - since_ns) / NS_PER_MS
