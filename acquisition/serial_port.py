"""Lines over a serial port: sent without waiting, received by a thread that notes when each came. The home of pyserial."""

import contextlib
from collections import deque
from threading import Thread

import serial

from acquisition.clock import Clock
from acquisition.microscope import MicroscopeError, RigGone
from acquisition.serial_protocol import BadLine, LineReader, words

READ_S = 0.1
MOST_UNREAD = 1000


class SerialPort:
    """An open port. `send` and `take` are for one thread; what has gone wrong with the port is raised by both."""

    def __init__(self, port: str, baud: int, clock: Clock) -> None:
        try:
            self._port = serial.Serial(port, baud, timeout=READ_S, write_timeout=0, exclusive=True)
        except (serial.SerialException, OSError, ValueError) as error:
            raise MicroscopeError(
                f"the sorter's port {port} at {baud} baud cannot be opened: {error}; is it plugged in, is the name right, "
                "and does no other program use it?"
            ) from error
        self.name, self._clock = port, clock
        self.n_garbled = 0
        """Lines whose checksum was wrong, halves of lines, and lines of something else."""
        self._came: deque[tuple[int, tuple[str, ...]]] = deque()
        self._failure = ""
        self._is_closed = False
        self._thread = Thread(target=self._read, name=f"read {port}", daemon=True)
        self._thread.start()

    def send(self, line: bytes) -> None:
        """Hand a line to the operating system. Raises RigGone if it does not take it."""
        self._complain()
        try:
            taken = self._port.write(line)
        except (serial.SerialException, OSError) as error:
            self._failure = f"cannot be written to: {error}"
        else:
            if taken != len(line):
                self._failure = "takes nothing more: the sorter does not read what it is sent"
        self._complain()

    def take(self) -> list[tuple[int, tuple[str, ...]]]:
        """What has come since the last call, and when, ns. Raises RigGone if nothing can come any more."""
        taken = [self._came.popleft() for _ in range(len(self._came))]
        if not taken:
            self._complain()
        return taken

    def close(self) -> None:
        """Let go of the port; what was sent still leaves."""
        self._is_closed = True
        with contextlib.suppress(serial.SerialException, OSError):
            self._port.cancel_read()
        self._thread.join(10 * READ_S)
        with contextlib.suppress(serial.SerialException, OSError):
            self._port.close()

    def _complain(self) -> None:
        if self._failure:
            raise RigGone(f"the sorter's port {self.name} {self._failure}; whether its gate is open cannot be known")

    def _read(self) -> None:
        reader = LineReader()
        while not self._is_closed and not self._failure:
            try:
                data = self._port.read(1)
                data += self._port.read(self._port.in_waiting)
            except (serial.SerialException, OSError, TypeError) as error:  # TypeError: closed by another thread
                self._failure = self._failure or f"is gone: {error}"
                return
            self._note(reader, data)

    def _note(self, reader: LineReader, data: bytes) -> None:
        came_ns = self._clock.now_ns()
        for raw in reader.feed(data):
            try:
                said = words(raw)
            except BadLine:
                self.n_garbled += 1
                continue
            if said:
                self._came.append((came_ns, said))
        if len(self._came) > MOST_UNREAD:
            self._failure = f"has sent {MOST_UNREAD} lines that nobody has read"
