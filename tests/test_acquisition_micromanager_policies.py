"""Each policy of micromanager_policies.toml alone on a real MMCore: what it decides is done, and the core itself says so."""

import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from acquisition.clock import NS_PER_S, SystemClock
from acquisition.commands import AcquireBurst, Command, MoveStage, SetChannel, SetExposure, SetInterval, SetLight
from acquisition.frame import FrameHeader
from realtime.config import RunConfig, load_config
from realtime.inline import InlineRun
from realtime.wire import AnyMessage, OutcomeReached
from tests.micromanager_cores import Watched
from tests.micromanager_rigs import watched

__all__ = ["watched"]
CONFIGS = Path(__file__).parents[1] / "hardware_configs"
QUICK = [
    "imaging.interval_ms=60", "policy.pace.slow_interval_ms=60", "policy.pace.dwell_s=0.3", "policy.revisit.frames=2",
    "limits.moves_per_s=50", "inference.deadline_ms=5000",
]  # fmt: skip


@dataclass
class Story:
    """What a run decided, what became of it, and what the core said of its devices at each frame."""

    watched: Watched
    done: list[Command] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    frames: list[FrameHeader] = field(default_factory=list)
    volts: list[float] = field(default_factory=list)
    exposures_ms: list[float] = field(default_factory=list)
    filters: list[str] = field(default_factory=list)
    places_um: list[tuple[float, ...]] = field(default_factory=list)

    def hear(self, message: AnyMessage) -> None:
        if isinstance(message, OutcomeReached) and message.decision is not None:
            if message.outcome.status == "done":
                self.done.append(message.decision.command)
            elif "the run ended" not in message.outcome.detail:
                self.others.append(message.outcome.detail)

    def look(self, header: FrameHeader) -> None:
        """Every frame: the header's word, and the devices' own."""
        core = self.watched.core
        self.frames.append(header)
        self.volts.append(float(core.getProperty("Light", "Voltage")))
        self.exposures_ms.append(core.getExposure())
        self.filters.append(core.getProperty("Filter", "Label"))
        self.places_um.append(tuple(round(x) for x in core.getXYPosition()))

    def asked(self, kind: type[Command]) -> list[Command]:  # type: ignore[valid-type]
        return [command for command in self.done if isinstance(command, kind)]


def intervals_are_obeyed(story: Story) -> bool:
    """Of the last one the run may not have lived to see a frame."""
    asked = [round(c.interval_ms, 6) for c in story.asked(SetInterval)]
    return len(asked) >= 1 and set(asked[:-1] or asked) <= {round(header.interval_ms, 6) for header in story.frames}


def light_is_obeyed(story: Story) -> bool:
    asked = [round(2 * c.light_mw, 3) for c in story.asked(SetLight)]
    return len(asked) >= 1 and set(asked[:-1] or asked) <= {round(volts, 3) for volts in story.volts}


def stage_is_at_every_place(story: Story) -> bool:
    return {(0, 0), (150, 0), (150, 150), (0, 150)} <= set(story.places_um)


def stage_went_where_it_was_sent(story: Story) -> bool:
    moves = story.asked(MoveStage)
    near = [
        any(abs(x - move.x_um) <= 1 and abs(y - move.y_um) <= 1 for x, y in story.places_um[1:]) for move in moves[:-1]
    ]
    return len(moves) >= 1 and all(near)


def bursts_are_sequenced(story: Story) -> bool:
    sequenced = [args for name, args in story.watched.calls if name == "startSequenceAcquisition"]
    by_reason = defaultdict(list)
    for header in story.frames:
        by_reason[header.reason].append(header)
    bursts = [headers for reason, headers in by_reason.items() if ".burst." in reason]
    return (
        len(story.asked(AcquireBurst)) >= 1
        and set(sequenced) == {(20, 10.0, True)}
        and len(bursts) >= 1
        and len(bursts[0]) == 20
        and bursts[0][-1].index - bursts[0][0].index == 19
    )


def channel_is_switched_and_back(story: Story) -> bool:
    looks = [header for header in story.frames if header.channel == "RFP"]
    after = [header for header in story.frames if looks and header.index > looks[-1].index]
    good = [header for header in looks if (header.exposure_ms, header.light_mw) == (20.0, 2.0)]
    return (
        {"RFP", "GFP"} <= set(story.filters)
        and len(good) >= 2
        and len(after) >= 1
        and after[-1].channel == "GFP"
        and (after[-1].exposure_ms, after[-1].light_mw) == (10.0, 1.0)
        and {10.0, 20.0} <= set(story.exposures_ms)
        and len(story.asked(SetChannel)) >= 2
        and len(story.asked(SetExposure)) >= 2
    )


POLICIES: dict[str, Callable[[Story], bool]] = {
    "pace": intervals_are_obeyed,
    "budget": intervals_are_obeyed,
    "exposure": light_is_obeyed,
    "revisit": stage_is_at_every_place,
    "follow": stage_went_where_it_was_sent,
    "burst": bursts_are_sequenced,
    "channel": channel_is_switched_and_back,
}


@pytest.mark.parametrize("name", POLICIES)
def test_what_a_policy_decides_is_done_by_the_devices(watched: Watched, tmp_path: Path, name: str) -> None:
    story = Story(watched)
    run(config_of(tmp_path, name), story, lambda: POLICIES[name](story))
    assert story.others == []


def test_a_policy_for_every_one_in_the_file(tmp_path: Path) -> None:
    assert set(POLICIES) == set(load_config(CONFIGS / "micromanager_policies.toml").policies)


def config_of(folder: Path, name: str) -> RunConfig:
    """The shipped file, with one policy, acting, and a quick interval; on a rig that no other run uses."""
    shutil.copy(CONFIGS / "micromanager_demo.cfg", folder / "rig.cfg")
    rig = f"microscope.config_file='{folder / 'rig.cfg'}'"
    config = load_config(CONFIGS / "micromanager_policies.toml", [*QUICK, rig])
    acting = msgspec.structs.replace(config.policies[name], shadow=False)
    return msgspec.structs.replace(config, policies={name: acting})


def run(config: RunConfig, story: Story, is_shown: Callable[[], bool]) -> None:
    """In this process, on the system's clock, until the devices and the frames show what was decided."""
    clock, microscope = SystemClock(), config.microscope.build()
    try:
        inline = InlineRun(
            config, "run", microscope, clock, None,
            see=lambda analysis: story.look(analysis.scene.frame), hear=story.hear,
        )  # fmt: skip
        inline.loop.start()
        until_ns = clock.now_ns() + 15 * NS_PER_S
        while not is_shown():
            assert inline.loop.end is None, inline.loop.end
            assert clock.now_ns() < until_ns, f"not within 15 s: {story}"
            inline.loop.turn()
        inline.loop.stop("shown")
        inline.loop.finish()
    finally:
        microscope.close()
