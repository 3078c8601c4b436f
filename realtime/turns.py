"""Who of several cells is looked after now: each has its turn, and those that are lost make room."""

from dataclasses import dataclass, field

from acquisition.clock import NS_PER_S


@dataclass
class Turns:
    """Tracks in the order of their turns."""

    dwell_s: float
    """Length of a turn, from the first sight of the cell."""
    reach_s: float
    """A cell that was not seen by then has had its turn."""
    ids: list[int] = field(default_factory=list)
    n_unseen: int = 0
    """Frames in a row that showed the place of the one whose turn it is, but not the cell."""
    _at: int = 0
    _began_ns: int | None = None
    _seen_ns: int | None = None

    @property
    def now(self) -> int | None:
        """The track whose turn it is."""
        return self.ids[self._at] if self.ids else None

    def forget(self, track_id: int) -> None:
        """One that is lost; if it was its turn, the next one's begins."""
        i = self.ids.index(track_id)
        del self.ids[i]
        if i == self._at:
            self._begin(None)
        elif i < self._at:
            self._at -= 1
        if self._at >= len(self.ids):
            self._at = 0

    def replace(self, track_id: int, by: int) -> None:
        """A daughter takes her mother's place."""
        self.ids[self.ids.index(track_id)] = by

    def pass_on(self, t_ns: int, is_seen: bool, may_change: bool) -> bool:
        """One frame on; True if it is another one's turn from now on."""
        if self._began_ns is None:
            self._begin(t_ns)
        if is_seen and self._seen_ns is None:
            self._seen_ns = t_ns
        began_ns, lasts_s = (self._began_ns, self.reach_s) if self._seen_ns is None else (self._seen_ns, self.dwell_s)
        is_over = began_ns is not None and t_ns - began_ns >= lasts_s * NS_PER_S
        if not (is_over and may_change and len(self.ids) > 1):
            return False
        self._at = (self._at + 1) % len(self.ids)
        self._begin(t_ns)
        return True

    def _begin(self, t_ns: int | None) -> None:
        self._began_ns, self._seen_ns, self.n_unseen = t_ns, None, 0
