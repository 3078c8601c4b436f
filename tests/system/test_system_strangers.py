"""Whatever comes to the sockets of a run that does not belong there is refused and counted, and the run does not notice."""

import contextlib
import secrets
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
import zmq

from acquisition.commands import Stop
from realtime.bus import Address, Client, KeyPair
from realtime.wire import MAX_BYTES, VERSION, DecisionMade, OperatorCommand, encode
from tests.system.runs import Recorded, Run, simulated_config
from tests.wire_examples import EXAMPLES, kind_of

KIND = {"door": zmq.DEALER, "inbox": zmq.PUSH, "telemetry": zmq.SUB}
HANDSHAKES = {"door": "handshakes_refused", "telemetry": "handshakes_refused", "inbox": "recorder_handshakes_refused"}
MESSAGES = {"door": "messages_refused", "inbox": "recorder_messages_refused"}


def stop_of(run: str, version: int = VERSION) -> bytes:
    """What would end the run if it were believed."""
    return encode(OperatorCommand(run=run, id="stranger.1", command=Stop(), who="stranger", v=version))


# --- who may not even say hello ----------------------------------------------------------------------------------


@contextlib.contextmanager
def no_zeromq(where: Address, name: str, run: str) -> Iterator[None]:
    """A port scanner, a browser, anything that speaks TCP."""
    host, port = where.endpoint.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port)), timeout=5.0) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + secrets.token_bytes(1000))
        yield


@contextlib.contextmanager
def no_key(where: Address, name: str, run: str) -> Iterator[None]:
    """ZeroMQ without CURVE."""
    with zmq.Context() as context, context.socket(KIND[name]) as connection:
        connection.linger = 0
        connection.connect(where.endpoint)
        if name != "telemetry":
            connection.send(stop_of(run))
        yield


@contextlib.contextmanager
def unknown_key(where: Address, name: str, run: str) -> Iterator[None]:
    """The right server key with a key pair that is nobody's."""
    with contextlib.closing(Client(name, where, run, KeyPair.new())) as client:
        client.socket.linger = 0
        if name != "telemetry":
            client.socket.send(stop_of(run))
        yield
        client.close(linger_ms=0)


def has_risen(run: Run, figure: str, before: float) -> bool:
    return run.figure(figure) > before


STRANGERS = {"no ZeroMQ": no_zeromq, "no key": no_key, "unknown key": unknown_key}


def test_strangers_are_refused_at_every_socket(tmp_path: Path) -> None:
    with Run(simulated_config(tmp_path), tmp_path / "session") as run:
        run.take_frames(5)
        for name, where in run.supervisor.addresses.items():
            for who, connected in STRANGERS.items():
                before = run.figure(HANDSHAKES[name])
                with connected(where, name, run.supervisor.run):
                    counted = partial(has_risen, run, HANDSHAKES[name], before)
                    run.step_until(counted, f"{who} at the {name} is counted")
        run.take_frames(5)
        result = run.finish()
    assert result.ok, result.reason
    assert result.reason == "stopped: the test is over"
    recorded = Recorded(run.folder)
    recorded.assert_whole()
    assert recorded.end.figures["messages_refused"] == 0
    assert "a connection failed its handshake" in recorded.notices()


# --- who is known and says what it should not --------------------------------------------------------------------


def bad_messages(run: str) -> dict[str, bytes]:
    """From an operator, whose key is known."""
    example = next(message for message in EXAMPLES if isinstance(message, DecisionMade))
    return {
        "not a Reflexscope message": secrets.token_bytes(300),
        f"{MAX_BYTES + 1} bytes refused": bytes(MAX_BYTES + 1),
        f"version {VERSION - 1} refused": stop_of(run, VERSION - 1),
        "message of run 'yesterday' refused": stop_of("yesterday"),
        "operator may not say that": encode(msgspec.structs.replace(example, run=run)),
    }


@pytest.mark.parametrize("name", MESSAGES)
def test_bad_messages_are_refused_by_name(tmp_path: Path, name: str) -> None:
    with Run(simulated_config(tmp_path), tmp_path / "session") as run:
        run.take_frames(5)
        messages = bad_messages(run.supervisor.run)
        client = Client(name, run.supervisor.addresses[name], run.supervisor.run, run.supervisor.keys["operator"])
        with contextlib.closing(client):
            for data in messages.values():
                client.socket.send(data)
            if name == "door":
                client.socket.send_multipart([stop_of(run.supervisor.run), b"and more"])
            n = len(messages) + (name == "door")
            run.step_until(lambda: run.figure(MESSAGES[name]) >= n, "all are counted")
        run.take_frames(5)
        result = run.finish()
    assert result.ok, result.reason
    recorded = Recorded(run.folder)
    recorded.assert_whole()
    assert recorded.end.figures[MESSAGES[name]] == n
    assert recorded.end.figures["handshakes_refused"] == 0, "one of the run's own was taken for a stranger"
    assert recorded.end.figures.get("recorder_handshakes_refused", 0) == 0
    named = [words for words in messages if words in recorded.notices()]
    assert len(named) == 3, "the first three of a kind are written down in full"


def test_any_kind_of_message_from_an_operator_is_harmless(tmp_path: Path) -> None:
    """Every kind that the wire knows, valid and of this run, at both sockets, from one who may only give commands."""
    with Run(simulated_config(tmp_path), tmp_path / "session") as run:
        run.take_frames(5)
        name = run.supervisor.run
        messages = [
            msgspec.structs.replace(message, run=name) for message in EXAMPLES if kind_of(message) != "operator"
        ]
        for where, figure in MESSAGES.items():
            client = Client(where, run.supervisor.addresses[where], name, run.supervisor.keys["operator"])
            with contextlib.closing(client):
                for message in messages:
                    client.send(message)
                run.step_until(lambda figure=figure: run.figure(figure) == len(messages), "all are counted")
        run.take_frames(5)
        result = run.finish()
    assert result.ok, result.reason
    Recorded(run.folder).assert_whole()


def test_a_message_too_large_to_be_read_at_all(tmp_path: Path) -> None:
    """Far above the limit ZeroMQ itself drops the connection, before the memory for it is found."""
    with Run(simulated_config(tmp_path), tmp_path / "session") as run:
        run.take_frames(5)
        for name in MESSAGES:
            client = Client(name, run.supervisor.addresses[name], run.supervisor.run, run.supervisor.keys["operator"])
            client.socket.send(bytes(4 * MAX_BYTES + 1))
            run.take_frames(20)
            client.close(linger_ms=0)
        result = run.finish()
    assert result.ok, result.reason
    Recorded(run.folder).assert_whole()
