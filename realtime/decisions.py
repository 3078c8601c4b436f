"""A decision: a command, the frame it is based on, who made it and why, and until when it is valid."""

from typing import Annotated

import msgspec
from msgspec import Meta

from acquisition.commands import Command, Order

ShortText = Annotated[str, Meta(max_length=200)]


class Decision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a policy wants done. A policy gives the command and the reason; inference.py fills in the rest."""

    command: Command
    reason: ShortText
    """For people: what in the scene led to this."""
    track_id: int | None = None
    deadline_ns: int | None = None
    """Acquisition clock; the acquisition process refuses the decision after it. None: the config's deadline_ms."""
    id: ShortText = ""
    """`<frame index>.<policy>.<n>`: the same frames give the same ids."""
    frame_index: int = -1
    policy: ShortText = ""

    def order(self, arrived_ns: int) -> Order:
        """As the acquisition loop sees it."""
        return Order(
            id=self.id, command=self.command, source=self.policy, deadline_ns=self.deadline_ns, arrived_ns=arrived_ns,
            why=f"{self.policy}: {self.reason}",
        )  # fmt: skip
