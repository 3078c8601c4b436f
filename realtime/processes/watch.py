"""Who of a run's processes is alive, and whether inference gets anywhere: told from heartbeats alone."""

from collections.abc import Iterator

from acquisition.clock import NS_PER_MS, NS_PER_S
from realtime.wire import Heartbeat, finite


class Watch:
    """What the acquisition process knows of the others. A process counts from its own "ready" on, until it is lost."""

    def __init__(self, silence_ms: float) -> None:
        self.figures: dict[str, float] = {}
        self._silence_ns = silence_ms * NS_PER_MS
        self._heard_ns: dict[str, int] = {}
        self._looked_ns: int | None = None
        self._progress = self._progress_ns = self._frames_then = 0

    def __contains__(self, role: str) -> bool:
        return role in self._heard_ns

    def arrive(self, role: str, now_ns: int) -> None:
        """It says that it is ready."""
        self._heard_ns[role] = now_ns
        if role == "inference":
            self._progress_ns = now_ns

    def leave(self, role: str) -> None:
        """It is lost, or has said its last word; only its own "ready" brings it back."""
        self._heard_ns.pop(role, None)

    def hear(self, role: str, beat: Heartbeat, n_frames: int, now_ns: int) -> None:
        """It is alive; it also gets on if its progress grew, or if there was nothing to do."""
        if role not in self._heard_ns:
            return
        self._heard_ns[role] = now_ns
        self.figures |= {f"{role}_{name}": value for name, value in finite(beat.figures).items()}
        if role == "inference" and (beat.progress != self._progress or n_frames == self._frames_then):
            self._progress, self._progress_ns, self._frames_then = beat.progress, now_ns, n_frames

    def hear_all(self, now_ns: int) -> None:
        """Begin to count silence now."""
        self._heard_ns = dict.fromkeys(self._heard_ns, now_ns)

    def silent(self, now_ns: int) -> Iterator[tuple[str, str]]:
        """Whoever has been silent too long, and the reason in words.

        After a while in which nobody looked (this process was held, or its clock jumped) the others get their time anew.
        """
        looked_ns, self._looked_ns = self._looked_ns, now_ns
        if looked_ns is not None and now_ns - looked_ns > self._silence_ns / 2:
            self.hear_all(now_ns)
        for role, heard_ns in list(self._heard_ns.items()):
            if now_ns - heard_ns > self._silence_ns:
                yield role, f"no heartbeat for {(now_ns - heard_ns) / NS_PER_MS:.0f} ms"

    def inference_idle_s(self, now_ns: int) -> float:
        """How long inference has finished no frame although frames came."""
        return (now_ns - self._progress_ns) / NS_PER_S
