"""The errors of a scoring that could not be finished."""


class PolicyFailed(RuntimeError):
    """A policy that is judged raised: what it does afterwards, or does not, is no merit or fault of its idea."""


class ScoreFailed(RuntimeError):
    """One of the runs could not be finished; the message says which, and why."""
