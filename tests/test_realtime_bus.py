"""The bus: who may speak, what may be said, and what happens to everything else. Real sockets on loopback."""

import contextlib
import socket
from collections.abc import Iterator

import msgspec
import pytest
import zmq

from acquisition.clock import SystemClock
from acquisition.commands import MoveStage, Stop
from realtime import bus
from realtime.bus import BusError, Client, Door, Inbox, KeyPair, Telemetry
from realtime.decisions import Decision
from realtime.wire import MAX_BYTES, VERSION, AnyMessage, DecisionMade, Heartbeat, OperatorCommand, Status, encode

RUN = "run-a"
BEAT = Heartbeat(run=RUN, role="inference", pid=1, progress=1)
STOP = OperatorCommand(run=RUN, id="o.1", command=Stop(), who="me")
CLOCK = SystemClock()


def decision(run: str = RUN) -> DecisionMade:
    made = Decision(command=MoveStage(x_um=1.0), reason="r", id="1.p.0", frame_index=1, policy="p", deadline_ns=9)
    return DecisionMade(run=run, decision=made, exposed_ns=1, decided_ns=2, sent_ns=3)


class Desk:
    """A door with keys for inference and an operator."""

    def __init__(self) -> None:
        self.keys = {role: KeyPair.new() for role in ("acquisition", "inference", "operator")}
        role_of = {keys.public: role for role, keys in self.keys.items() if role != "acquisition"}
        self.door = Door(RUN, self.keys["acquisition"], role_of, CLOCK)
        self.clients: list[Client] = []

    def client(self, role: str) -> Client:
        self.clients.append(Client("door", self.door.address, RUN, self.keys.get(role) or KeyPair.new()))
        return self.clients[-1]

    def heard(self, n: int, timeout_s: float = 5.0) -> list[tuple[str, AnyMessage]]:
        """At least n messages; fails if they do not come."""
        found: list[tuple[str, AnyMessage]] = []
        until_ns = CLOCK.now_ns() + round(timeout_s * 1e9)
        while len(found) < n:
            assert CLOCK.now_ns() < until_ns, f"only {found} came within {timeout_s} s"
            found += self.door.receive(0.05)
        return found

    def refused(self, kind: str, n: int, timeout_s: float = 5.0) -> list[str]:
        until_ns = CLOCK.now_ns() + round(timeout_s * 1e9)
        while self.door.refusals.counts[kind] < n:
            assert CLOCK.now_ns() < until_ns, f"{self.door.refusals} after {timeout_s} s, {n} × {kind} expected"
            assert not list(self.door.receive(0.02))
            self.door.count_strangers()
        return self.door.refusals.take_texts()


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    for client in desk.clients:
        client.socket.linger = 0
        client.close()
    desk.door.close()


def test_both_ways(desk: Desk) -> None:
    inference = desk.client("inference")
    inference.send(decision())
    assert desk.heard(1) == [("inference", decision())]
    assert desk.door.send("inference", BEAT)
    assert list(inference.receive(5.0)) == [BEAT]


def test_nobody_is_there_to_hear(desk: Desk) -> None:
    assert not desk.door.send("inference", BEAT)
    desk.client("inference").send(BEAT)
    desk.heard(1)
    assert not desk.door.send("inference", BEAT), "a heartbeat comes from a thread of its own, which reads nothing"


REFUSED: dict[str, tuple[bytes | list[bytes], str]] = {
    "garbage": (b"\xc1garbage", "not a Reflexscope message"),
    "empty": (b"", "not a Reflexscope message"),
    "another run": (encode(msgspec.structs.replace(BEAT, run="run-b")), "run 'run-b' refused"),
    "an old version": (encode(msgspec.structs.replace(BEAT, v=0)), "version 0 refused"),
    "an unknown kind": (msgspec.msgpack.encode({"v": VERSION, "run": RUN, "kind": "magic"}), "'magic'"),
    "not for this role": (encode(STOP), "inference may not say that"),
    "a number out of range": (msgspec.msgpack.encode(msgspec.to_builtins(BEAT) | {"progress": -1}), "progress"),
    "too many parts": ([b"a", b"b"], "2 parts"),
    "too large": (b"\0" * (MAX_BYTES + 1), "at most"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_refused_counted_and_named(desk: Desk, name: str) -> None:
    data, words = REFUSED[name]
    inference = desk.client("inference")
    inference.socket.send_multipart(data if isinstance(data, list) else [data])
    assert words in desk.refused("message", 1)[0]
    inference.send(BEAT)
    assert desk.heard(1) == [("inference", BEAT)], "and the next good message is heard"


def test_a_decision_of_another_run_is_let_through_to_get_its_outcome(desk: Desk) -> None:
    desk.client("inference").send(decision("run-b"))
    assert desk.heard(1) == [("inference", decision("run-b"))]


def test_strangers_do_not_get_past_the_handshake(desk: Desk) -> None:
    desk.client("a stranger with a key of his own").send(STOP)
    assert any("AUTH" in text for text in desk.refused("handshake", 1))
    plain = zmq.Context()
    without_keys = plain.socket(zmq.DEALER)
    without_keys.linger = 0
    without_keys.connect(desk.door.address.endpoint)
    without_keys.send(encode(STOP))
    host, port = desk.door.address.endpoint.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port))) as no_zeromq:
        no_zeromq.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
        assert desk.refused("handshake", 3)
    without_keys.close()
    plain.term()
    desk.client("operator").send(STOP)
    assert desk.heard(1) == [("operator", STOP)]


def test_a_flood_of_strangers_does_not_keep_the_receiver(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus, "AT_A_TIME", 2)
    host, port = desk.door.address.endpoint.removeprefix("tcp://").split(":")
    for _ in range(10):
        with socket.create_connection((host, int(port))) as no_zeromq:
            no_zeromq.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
            with contextlib.suppress(ConnectionResetError):
                while no_zeromq.recv(64):  # until it is sent away, so that the events of all are there
                    pass
    desk.door.count_strangers()
    assert desk.door.refusals.counts["handshake"] <= 2
    desk.refused("handshake", 10)


def test_a_slow_watcher_loses_telemetry_and_delays_nobody() -> None:
    server, watcher = KeyPair.new(), KeyPair.new()
    telemetry = Telemetry(RUN, server, {watcher.public: "operator"})
    client = Client("telemetry", telemetry.address, RUN, watcher)
    statuses = (Status(run=RUN, t_ns=i, state="running", frames=i, lost=0) for i in range(10**6))
    until_ns = CLOCK.now_ns() + 5 * 10**9
    while not list(client.receive(0.01)):  # a subscription takes a moment to arrive
        assert CLOCK.now_ns() < until_ns
        telemetry.send(next(statuses))
    started_ns = CLOCK.now_ns()
    for _ in range(20_000):
        telemetry.send(next(statuses))
    assert CLOCK.now_ns() - started_ns < 10 * 10**9
    assert len(list(client.receive(1.0))) < 20_000, "the watcher lost some, the sender never waited"
    client.close()
    telemetry.close()


def test_an_inbox_that_nobody_empties_is_an_error_not_a_loss() -> None:
    server, sender = KeyPair.new(), KeyPair.new()
    inbox = Inbox(RUN, server, {sender.public: "inference"})
    client = Client("inbox", inbox.address, RUN, sender)
    sent = 0
    with pytest.raises(BusError, match="messages behind"):
        for _ in range(10**6):
            client.send(BEAT)
            sent += 1
    received = 0
    until_ns = CLOCK.now_ns() + 20 * 10**9
    while received < sent and CLOCK.now_ns() < until_ns:
        received += len(list(inbox.receive(0.1)))
    assert received == sent, "everything that was accepted arrives"
    client.close()
    inbox.close()
