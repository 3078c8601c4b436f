"""The error of a scoring that could not be finished."""


class ScoreFailed(RuntimeError):
    """One of the runs could not be finished; the message says which, and why."""
