"""The words between the processes of a run: ZeroMQ sockets, CURVE-authenticated, on loopback. The only module with zmq.

    door       acquisition ⇄ inference, recorder, operators    frames and outcomes out; decisions and heartbeats in
    telemetry  acquisition → whoever watches                    lossy: a slow watcher loses, never delays
    inbox      everyone → recorder                              lossless: bounded, and a full one is an error

Every message is checked where it arrives: size, version, run, kind, and whether its sender may say such a thing.
"""

from collections.abc import Iterator

import msgspec
import zmq
import zmq.auth.thread
import zmq.utils.monitor

from acquisition.clock import Clock
from realtime.refusals import Handshakes, Refusals
from realtime.wire import (
    MAX_BYTES,
    AnyMessage,
    DecisionMade,
    FrameAnalysed,
    FrameReady,
    Heartbeat,
    InferenceEnded,
    InferenceStarted,
    Notice,
    OperatorCommand,
    OutcomeReached,
    ProcessLost,
    RecorderReady,
    RunEnded,
    StripsSorted,
    WireError,
    decode,
    encode,
)

LOOPBACK = "tcp://127.0.0.1"
ZAP_DOMAIN = "reflexscope"
DOOR_HWM = 1000
INBOX_HWM = 20_000
TELEMETRY_HWM = 100
AT_A_TIME = 1000
"""So many messages are read in a row; then the receiver looks at its clock and camera again, even under a flood."""
CONNECTION_EVENTS = (
    zmq.Event.ACCEPTED | zmq.Event.DISCONNECTED | zmq.Event.HANDSHAKE_SUCCEEDED
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL | zmq.Event.HANDSHAKE_FAILED_PROTOCOL | zmq.Event.HANDSHAKE_FAILED_AUTH
)  # fmt: skip
MAY_SAY: dict[str, tuple[type, ...]] = {
    "acquisition": (FrameReady, OutcomeReached, RunEnded, Notice, OperatorCommand),
    "inference": (DecisionMade, FrameAnalysed, StripsSorted, InferenceStarted, InferenceEnded, Heartbeat, Notice),
    "recorder": (RecorderReady, Heartbeat, Notice),
    "operator": (OperatorCommand,),
    "supervisor": (OperatorCommand, ProcessLost, RunEnded, Notice),
}


class BusError(RuntimeError):
    """A message that must arrive could not be sent."""


class KeyPair(msgspec.Struct, frozen=True):
    """One process's identity for one run (CURVE, Z85 text)."""

    public: str
    secret: str

    @classmethod
    def new(cls) -> "KeyPair":
        public, secret = zmq.curve_keypair()
        return cls(public.decode(), secret.decode())


class Address(msgspec.Struct, frozen=True):
    """Where a socket listens, and the public key that proves it is the right one."""

    endpoint: str
    server_key: str


class _Registry:
    """Answers the ZAP question "is this key known?" and remembers who has which key."""

    def __init__(self, role_of: dict[str, str]) -> None:
        self.role_of = role_of

    def callback(self, domain: str, key: bytes) -> bool:
        return key.decode() in self.role_of


class _Server:
    """A bound socket that only known keys can speak to."""

    def __init__(self, kind: int, hwm: int, run: str, keys: KeyPair, role_of: dict[str, str]) -> None:
        self._run, self._role_of = run, role_of
        self._context = zmq.Context()
        self._context.max_sockets = 64
        self._authenticator = zmq.auth.thread.ThreadAuthenticator(self._context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(domain=ZAP_DOMAIN, credentials_provider=_Registry(role_of))
        self.socket = _limited(self._context.socket(kind), hwm)
        self.socket.curve_server = True
        self.socket.curve_publickey, self.socket.curve_secretkey = keys.public.encode(), keys.secret.encode()
        self.socket.zap_domain = ZAP_DOMAIN.encode()
        self._monitor = self.socket.get_monitor_socket(CONNECTION_EVENTS)
        port = self.socket.bind_to_random_port(LOOPBACK)
        self.address = Address(f"{LOOPBACK}:{port}", keys.public)
        self.refusals = Refusals()
        self._handshakes = Handshakes()

    def _read(self, part: zmq.Frame) -> tuple[str, AnyMessage] | None:
        """Who says what; None if it is refused, which is counted."""
        role = self._role_of.get(str(part.get("User-Id")), "stranger")
        try:
            message = decode(part.buffer, None)
            # A decision for another run is let through: its sender is owed an Outcome, which says that it is refused.
            if message.run != self._run and not isinstance(message, DecisionMade):
                raise WireError(f"message of run {message.run!r} refused: this is run {self._run!r}")
            if not isinstance(message, MAY_SAY.get(role, ())):
                raise WireError(f"{type(message).__name__} refused: {role} may not say that")
        except WireError as error:
            self.refusals.add("message", f"from {role}: {error}")
            return None
        return role, message

    def count_strangers(self) -> None:
        """Add failed handshakes (no key, wrong key, no ZeroMQ at all) to the refusals; of a flood, some at a time."""
        for _ in range(AT_A_TIME):
            if not self._monitor.poll(0):
                return
            event = zmq.utils.monitor.recv_monitor_message(self._monitor)
            if refused := self._handshakes.refused(str(zmq.Event(event["event"]).name), event["value"]):
                self.refusals.add("handshake", refused)

    def close(self) -> None:
        """Send what is queued (at most a second) and let go of the port."""
        self.socket.disable_monitor()
        self._monitor.close(linger=0)
        self.socket.close(linger=1000)
        self._authenticator.stop()
        self._context.term()


class Door(_Server):
    """The acquisition process's side: one socket through which all orders come and all answers go."""

    def __init__(self, run: str, keys: KeyPair, role_of: dict[str, str], clock: Clock) -> None:
        super().__init__(zmq.ROUTER, DOOR_HWM, run, keys, role_of)
        self.socket.router_mandatory = True
        self._clock = clock
        self._peers: dict[str, bytes] = {}

    def receive(self, timeout_s: float) -> Iterator[tuple[str, AnyMessage]]:
        """Messages that have come, waiting for the first at most so long (exact below a millisecond)."""
        if not self.socket.poll(int(timeout_s * 1000)):
            self._clock.sleep_s(min(timeout_s, 0.001) if timeout_s < 0.001 else 0.0)
        for _ in range(AT_A_TIME):
            try:
                identity, *parts = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            if len(parts) != 1:
                self.refusals.add("message", f"a message of {len(parts)} parts refused: one is allowed")
            elif (known := self._read(parts[0])) is not None:
                if not isinstance(known[1], Heartbeat):  # heartbeats come from a thread with a socket of its own
                    self._peers[known[0]] = identity.bytes
                yield known

    def send(self, role: str, message: AnyMessage) -> bool:
        """Say it to a peer that has spoken before; False if it is not there or its queue is full."""
        identity = self._peers.get(role)
        if identity is None:
            return False
        try:
            self.socket.send_multipart((identity, encode(message)), zmq.NOBLOCK)
        except (zmq.Again, zmq.ZMQError):
            return False
        return True

    def knows(self, role: str) -> bool:
        """True if the peer has spoken and not been forgotten since."""
        return role in self._peers

    def forget(self, role: str) -> None:
        """The peer is gone; send nothing to it until it speaks again."""
        self._peers.pop(role, None)


class Inbox(_Server):
    """The recorder's side: what is to be kept."""

    def __init__(self, run: str, keys: KeyPair, role_of: dict[str, str]) -> None:
        super().__init__(zmq.PULL, INBOX_HWM, run, keys, role_of)

    def receive(self, timeout_s: float) -> Iterator[tuple[str, AnyMessage]]:
        """All messages that have come, waiting for the first at most so long."""
        if not self.socket.poll(int(timeout_s * 1000)):
            return
        for _ in range(AT_A_TIME):
            try:
                part = self.socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            if (known := self._read(part)) is not None:
                yield known


class Telemetry(_Server):
    """The acquisition process's broadcast."""

    def __init__(self, run: str, keys: KeyPair, role_of: dict[str, str]) -> None:
        super().__init__(zmq.PUB, TELEMETRY_HWM, run, keys, role_of)

    def send(self, message: AnyMessage) -> None:
        self.socket.send(encode(message), zmq.NOBLOCK)


class Client:
    """The other side of any of the three: a connected socket with this process's keys. One thread each."""

    def __init__(self, kind: str, address: Address, run: str, keys: KeyPair) -> None:
        self._run = run
        self._context = zmq.Context()
        kinds = {"door": (zmq.DEALER, DOOR_HWM), "inbox": (zmq.PUSH, INBOX_HWM), "telemetry": (zmq.SUB, TELEMETRY_HWM)}
        socket_kind, hwm = kinds[kind]
        self.socket = _limited(self._context.socket(socket_kind), hwm)
        self.socket.curve_serverkey = address.server_key.encode()
        self.socket.curve_publickey, self.socket.curve_secretkey = keys.public.encode(), keys.secret.encode()
        if socket_kind == zmq.SUB:
            self.socket.subscribe(b"")
        self.socket.connect(address.endpoint)
        self.refusals = Refusals()

    def send(self, message: AnyMessage) -> None:
        """Queue it; BusError if the queue is full, which is an error by design (see the README on bounds)."""
        try:
            self.socket.send(encode(message), zmq.NOBLOCK)
        except zmq.Again as error:
            raise BusError(
                f"{type(message).__name__} could not be sent: the receiver is {INBOX_HWM} messages behind"
            ) from error

    def receive(self, timeout_s: float) -> Iterator[AnyMessage]:
        """All messages that have come, waiting for the first at most so long."""
        if not self.socket.poll(int(timeout_s * 1000)):
            return
        while True:
            try:
                data = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                yield decode(data, self._run)
            except WireError as error:
                self.refusals.add("message", str(error))

    def close(self, linger_ms: int = 1000) -> None:
        """Send what is queued, for at most so long, and close."""
        only_listens = self.socket.type == zmq.SUB  # what is queued there is its subscription
        self.socket.close(linger=0 if only_listens else linger_ms)
        self._context.term()


def _limited(socket: "zmq.Socket[bytes]", hwm: int) -> "zmq.Socket[bytes]":
    """Bounds that hold on both ends only if they are set before bind or connect."""
    socket.sndhwm = socket.rcvhwm = hwm
    socket.maxmsgsize = (
        4 * MAX_BYTES
    )  # above it ZeroMQ drops the connection; from MAX_BYTES on `decode` refuses and counts
    socket.linger = 0
    return socket
