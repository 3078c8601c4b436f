"""Policies, one small class a file: `decide(scene) -> Iterable[Decision]`; no I/O, no clock, no global state."""
