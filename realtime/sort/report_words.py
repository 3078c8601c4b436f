"""What a report says in words and numbers."""

from typing import Any

from realtime.sort.record import SortRecord


def headline(record: SortRecord, figures: dict[str, Any]) -> str:
    """What was sorted out of what."""
    classes = " or ".join(record.settings.gate.classes)
    dry = ", dry: no pulse was fired" if record.settings.dry else ""
    return f"{figures['sorted']:,} of {figures['events']:,} cells sorted as {classes}{dry}"


def second_line(record: SortRecord, figures: dict[str, Any]) -> str:
    """How pure and complete, as expected and in truth, and how fast."""
    parts = [record.name]
    if "events_per_s" in figures:
        parts.append(f"{figures['events_per_s']:,.0f} cells/s for {figures['seconds']:,.1f} s")
    for kind in ("expected", "true"):
        shares = figures.get(kind, {})
        words = [f"{name} {percent(shares[name])}" for name in ("purity", "yield") if name in shares]
        if "enrichment" in shares:
            words.append(f"enrichment {shares['enrichment']:.3g}×")
        if words:
            parts.append(f"{kind} " + ", ".join(words))
    return "   ·   ".join(parts)


def percent(share: float) -> str:
    """With as many digits as matter near 1."""
    return f"{share:.2%}" if share > 0.99 else f"{share:.1%}"


def verdict_words(verdict: str) -> str:
    """As a reader says it."""
    return verdict.replace("_", " ")
