"""Decisions over a real socket to the acquisition process's own object: what may not be is refused, with its outcome."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from acquisition.clock import NS_PER_MS, NS_PER_S
from acquisition.commands import (
    AcquireBurst,
    Command,
    MoveStage,
    Outcome,
    PulseSorter,
    Resume,
    SetChannel,
    SetExposure,
    SetInterval,
    SetLight,
)
from acquisition.microscope import Microscope
from realtime.bus import Client, KeyPair
from realtime.config import load_config
from realtime.decisions import Decision
from realtime.processes.acquisition import AcquisitionProcess
from realtime.processes.ticket import Lifeline, Ticket
from realtime.wire import DecisionMade, OperatorCommand, OutcomeReached, encode
from tests.system.runs import CLOCK, PATIENCE_S, simulated_config

RUN = "system-test"
ROLES = ("acquisition", "inference", "recorder", "supervisor", "operator")


class Held:
    """The supervisor is there."""

    cut = False


@dataclass
class Rig:
    """The process's object, its loop turned by hand, and the other side of its door."""

    process: AcquisitionProcess
    microscope: Microscope
    clients: dict[str, Client]

    def say(self, made: DecisionMade, role: str = "inference") -> None:
        self.clients[role].send(made)

    def outcomes(self, n: int, role: str = "inference") -> list[Outcome]:
        """The next `n` that are told to this role; turns the loop meanwhile."""
        told: list[Outcome] = []
        until_ns = CLOCK.now_ns() + round(PATIENCE_S * NS_PER_S)
        while len(told) < n:
            assert CLOCK.now_ns() < until_ns, f"only {told}"
            self.process.loop.turn()
            told += [m.outcome for m in self.clients[role].receive(0.0) if isinstance(m, OutcomeReached)]
        return told

    def figure(self, name: str) -> float:
        return self.process.figures().get(name, 0.0)

    def turn_until(self, name: str, at_least: float) -> None:
        until_ns = CLOCK.now_ns() + round(PATIENCE_S * NS_PER_S)
        while self.figure(name) < at_least:
            assert CLOCK.now_ns() < until_ns, f"{name} is {self.figure(name)}"
            self.process.loop.turn()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    config = load_config(
        simulated_config(tmp_path, limits={"light_mw": [0.0, 5.0], "pulse_ms": 20.0, "step_um": 150.0})
    )
    keys = {role: KeyPair.new() for role in ROLES}
    ticket = Ticket(
        run=RUN, role="acquisition", folder=str(tmp_path), session_toml="", ring=f"reflexscope-{tmp_path.name}",
        keys=keys["acquisition"], role_of={pair.public: role for role, pair in keys.items()},
    )  # fmt: skip
    microscope: Microscope = config.microscope.build()
    with contextlib.ExitStack() as stack:
        stack.callback(microscope.close)
        capabilities = microscope.open(CLOCK, config.imaging)
        process = AcquisitionProcess(ticket, config, microscope, capabilities, cast(Lifeline, Held()))
        stack.callback(process.close)
        stack.callback(process.loop.finish)
        clients = {role: Client("door", process.door.address, RUN, keys[role]) for role in ROLES[1:]}
        for client in clients.values():
            stack.callback(client.close, linger_ms=0)
        process.ring.release(2**63)  # nobody records here
        process.loop.start()
        yield Rig(process, microscope, clients)


def made(command: Command, name: str = "7.test.0", *, run: str = RUN, **changes: Any) -> DecisionMade:
    """A decision on a frame exposed 5 ms ago, in order unless changed."""
    now_ns = CLOCK.now_ns()
    times = {"exposed_ns": now_ns - 5 * NS_PER_MS, "decided_ns": now_ns, "sent_ns": now_ns}
    times |= {key: changes.pop(key) for key in times if key in changes}
    decision = Decision(command=command, reason="test", id=name, frame_index=7, policy="test")
    decision = msgspec.structs.replace(decision, **({"deadline_ns": now_ns + NS_PER_S} | changes))
    return DecisionMade(run=run, decision=decision, **times)


REFUSED: dict[str, tuple[Command, str]] = {
    "off the stage": (MoveStage(x_um=1e4), "x_um 10000 is outside [-200, 200]"),
    "too far at once": (MoveStage(x_um=199.0), "x_um 199 is 199 µm away, above step_um 150"),
    "too long": (SetExposure(1000.0), "exposure_ms 1000 is outside [1, 20]"),
    "too fast": (SetInterval(0.1), "interval_ms 0.1 is outside [10, 1000]"),
    "too bright": (SetLight(100.0), "light_mw 100 is outside [0, 5]"),
    "gate too long open": (PulseSorter(at_ns=2**62, width_ms=21.0), "width_ms 21 is above pulse_ms 20"),
    "too many frames": (AcquireBurst(10**6, 20.0), "n_frames 1000000 is above burst_frames"),
    "for people only": (Resume(), "only a person or the supervisor may resume"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_limits_forbid_is_refused(rig: Rig, name: str) -> None:
    command, words = REFUSED[name]
    rig.say(made(command))
    (outcome,) = rig.outcomes(1)
    assert (outcome.decision_id, outcome.status) == ("7.test.0", "refused")
    assert words in outcome.detail


def test_what_the_devices_cannot_do_has_failed(rig: Rig) -> None:
    rig.say(made(SetChannel("ultraviolet")))
    (outcome,) = rig.outcomes(1)
    assert outcome.status == "failed"
    assert "no channel 'ultraviolet'" in outcome.detail


def test_a_stale_decision_is_late(rig: Rig) -> None:
    before = rig.microscope.state()
    rig.say(made(SetExposure(7.0), deadline_ns=CLOCK.now_ns() - 3 * NS_PER_MS))
    (outcome,) = rig.outcomes(1)
    assert outcome.status == "late"
    assert "ms after its deadline" in outcome.detail
    assert rig.microscope.state().exposure_ms == before.exposure_ms


def test_a_decision_of_another_run_is_refused(rig: Rig) -> None:
    rig.say(made(SetExposure(7.0), run="yesterday"))
    (outcome,) = rig.outcomes(1)
    assert outcome.status == "refused"
    assert outcome.detail == f"it belongs to run yesterday; this is run {RUN}"


TIMES = {
    "from the future": {"sent_ns": 2**62},
    "decided before it was seen": {"exposed_ns": 2**61},
    "sent before it was decided": {"sent_ns": 0},
}


@pytest.mark.parametrize("name", TIMES)
def test_impossible_times_are_refused(rig: Rig, name: str) -> None:
    rig.say(made(SetExposure(7.0), **TIMES[name]))
    (outcome,) = rig.outcomes(1)
    assert outcome.status == "refused"
    assert "time marks are not in order" in outcome.detail


def test_a_repeated_decision_has_one_outcome_and_one_effect(rig: Rig) -> None:
    rig.say(made(SetExposure(7.0)))
    rig.say(made(SetExposure(9.0)))
    rig.say(made(SetExposure(11.0), "8.test.0"))
    first, second = rig.outcomes(2)
    assert [first.decision_id, second.decision_id] == ["7.test.0", "8.test.0"]
    assert {first.status, second.status} == {"done"}
    rig.turn_until("decisions_repeated", 1)
    assert rig.figure("done") == 2


def test_every_decision_of_a_flood_has_its_outcome(rig: Rig) -> None:
    """Thousands at once; the camera goes on meanwhile."""
    n, before = 3000, rig.process.loop.n_frames
    for i in range(n // 500):
        for k in range(500):
            rig.say(made(SetLight(1.0 + k / 500), f"{i}.flood.{k}"))
        ids = [outcome.decision_id for outcome in rig.outcomes(500)]
        assert ids == [f"{i}.flood.{k}" for k in range(500)]
    rig.outcomes(0)
    assert rig.figure("done") == n
    assert rig.figure("messages_refused") == 0
    assert rig.process.loop.n_frames >= before


MAY_NOT: dict[str, str] = {"recorder": "DecisionMade", "supervisor": "DecisionMade", "operator": "DecisionMade"}


@pytest.mark.parametrize("role", MAY_NOT)
def test_who_may_not_decide_is_refused(rig: Rig, role: str) -> None:
    rig.say(made(SetExposure(7.0)), role)
    rig.turn_until("messages_refused", 1)
    assert rig.process.door.refusals.counts["message"] == 1
    assert rig.figure("done") == 0


def test_inference_may_not_command_as_an_operator(rig: Rig) -> None:
    command = OperatorCommand(run=RUN, id="x", command=SetExposure(7.0), who="me")
    rig.clients["inference"].send(command)
    rig.turn_until("messages_refused", 1)
    rig.clients["operator"].send(command)
    (outcome,) = rig.outcomes(1, "operator")
    assert (outcome.decision_id, outcome.status) == ("x", "done")


def test_bad_bytes_from_inference_itself(rig: Rig) -> None:
    """A decision with a NaN, one with a number where text belongs, one cut short."""
    good: dict[str, Any] = msgspec.msgpack.decode(encode(made(MoveStage(x_um=1.0))))
    nan = good | {"decision": good["decision"] | {"command": {"command": "MoveStage", "x_um": float("nan")}}}
    wrong = good | {"decision": good["decision"] | {"policy": 7}}
    for data in (msgspec.msgpack.encode(nan), msgspec.msgpack.encode(wrong), msgspec.msgpack.encode(good)[:-9]):
        rig.clients["inference"].socket.send(data)
    rig.turn_until("messages_refused", 3)
    rig.say(made(SetExposure(7.0), "9.test.0"))
    assert [outcome.decision_id for outcome in rig.outcomes(1)] == ["9.test.0"]
