"""A policy's failures in words for the journal, and from those words again: was it suspended?"""

import re

_SUSPENDED = re.compile(r"policy (\S+) raised .*; suspended after \d+ failures in a row", re.DOTALL)


def failure_words(policy: str, error: Exception, where: str, n_in_a_row: int | None) -> str:
    """What went wrong and where; `n_in_a_row` is None unless the policy is suspended for so many failures."""
    words = f"policy {policy} raised {type(error).__name__}: {str(error)[:1000]} ({where})"
    return words if n_in_a_row is None else f"{words}; suspended after {n_in_a_row} failures in a row"


def suspended_policy(words: str) -> str | None:
    """The policy that these words tell the suspension of."""
    found = _SUSPENDED.match(words)
    return found[1] if found else None
