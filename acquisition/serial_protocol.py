"""The lines that a serial sorter and the computer exchange: plain words, a checksum each. See docs/serial_sorter.md.

    fire 17 4294966000 300*4E

Everything is text that a terminal shows, no line is longer than LONGEST, and a line whose checksum is wrong is none.
"""

from collections.abc import Iterator

PROTOCOL = 1
LONGEST = 80
"""Characters of a line without its end."""
TICK_RANGE = 1 << 32
"""The device counts its clock in 32 bits, and from the highest number on to 0."""


class BadLine(ValueError):
    """A line that says nothing: half, garbled or of another device."""


def checksum(text: bytes) -> int:
    """CRC-8 with the polynomial x⁸ + x² + x + 1, started at 0: the one of SMBus packets."""
    crc = 0
    for byte in text:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07 if crc & 0x80 else crc << 1) & 0xFF
    return crc


def line(*words: str | int) -> bytes:
    """A line ready to be sent."""
    text = " ".join(str(word) for word in words).encode("ascii")
    return b"%s*%02X\n" % (text, checksum(text))


def words(raw: bytes) -> tuple[str, ...]:
    """What a line without its end says. Raises BadLine."""
    text, star, sum_ = raw.rpartition(b"*")
    if not star or sum_.upper() != b"%02X" % checksum(text):
        raise BadLine(f"{raw[:LONGEST]!r}")
    return tuple(text.decode("ascii", errors="replace").split())


def ping(number: int) -> bytes:
    """As long as its answer, so that both take equally long on a slow line and half of a round trip is one way."""
    return line("ping", f"{number:05d}", f"{0:010d}", 0)


class LineReader:
    """Bytes as they come → whole lines. What grows longer than a line can be is thrown away."""

    def __init__(self) -> None:
        self._half = bytearray()
        self._skips = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Lines that are complete now, without their ends."""
        for part in data.splitlines(keepends=True):
            self._half += part
            whole = part.endswith((b"\n", b"\r"))
            if whole or len(self._half) > LONGEST + 2:
                text = bytes(self._half).rstrip(b"\r\n")
                self._half.clear()
                skipped, self._skips = self._skips or not whole, not whole
                if text:
                    yield b"" if skipped else text


def nearest(tick: int, about: int) -> int:
    """The count beyond 32 bits that a device's `tick` stands for, when it must be near to `about`."""
    return about + (tick - about + TICK_RANGE // 2) % TICK_RANGE - TICK_RANGE // 2
