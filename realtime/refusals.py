"""What is turned away at a socket: counted by reason, the first ones in full for the journal."""

from collections import Counter
from dataclasses import dataclass, field

IN_FULL = 3


@dataclass
class Refusals:
    """Counts for the status, texts for the journal; a flood of refusals must not become a flood of words."""

    counts: Counter[str] = field(default_factory=Counter)
    texts: list[str] = field(default_factory=list)

    def add(self, reason: str, text: str) -> None:
        self.counts[reason] += 1
        if self.counts[reason] <= IN_FULL:
            self.texts.append(text)

    def take_texts(self) -> list[str]:
        """Texts not taken yet."""
        texts, self.texts = self.texts, []
        return texts


class Handshakes:
    """Tells from a socket's connection events, in ZeroMQ's names, who left or was sent away before being let in."""

    def __init__(self) -> None:
        self._greeting: list[int] = []
        self._failure = ""

    def refused(self, event: str, connection: int) -> str | None:
        """Take in the next event; words if a connection was refused by it."""
        match event:
            case "ACCEPTED":
                self._greeting.append(connection)
            case "HANDSHAKE_SUCCEEDED":
                # It does not say whose: the latest's, for whoever dawdles or lies is not let in. Counts stay right anyway.
                del self._greeting[-1:]
            case "DISCONNECTED":
                if connection in self._greeting:
                    self._greeting.remove(connection)
                    why, self._failure = self._failure or "it does not speak ZeroMQ", ""
                    return f"a connection failed its handshake ({why})"
            case _:
                self._failure = event
        return None
