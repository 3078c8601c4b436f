"""A change of channel that was decided and that frames may not show yet."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from acquisition.clock import NS_PER_MS
from acquisition.commands import SetChannel
from acquisition.frame import FrameHeader
from realtime.decisions import Decision


@dataclass
class ChannelSwitch:
    """The last one: what is decided meanwhile was meant for the channel of before, and would hit the next one."""

    channel: str = ""
    _deadline_ns: float = -math.inf

    def decided(self, decisions: Iterable[Decision]) -> None:
        """Hear of what goes to the rig."""
        for decision in decisions:
            if isinstance(decision.command, SetChannel) and decision.deadline_ns is not None:
                self.channel, self._deadline_ns = decision.command.channel, decision.deadline_ns

    def awaited(self, frame: FrameHeader) -> str:
        """The channel that may be in force by now, if it is not that of the frame; nothing once this can be told.

        A frame whose exposure began after the deadline shows what became of the decision.
        """
        began_ns = frame.t_ns - frame.exposure_ms * NS_PER_MS
        if frame.channel == self.channel or began_ns > self._deadline_ns:
            self.channel, self._deadline_ns = "", -math.inf
        return self.channel
