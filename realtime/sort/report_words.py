"""What a report says in words and numbers."""

from typing import Any

from realtime.sort.record import SortRecord


def headline(record: SortRecord, figures: dict[str, Any]) -> str:
    """Pulses that were fired, and whom they were meant for."""
    pulses = "pulse" if figures["fired"] == 1 else "pulses"
    fired = (
        f"Dry sort: {figures['fired']:,} {pulses} would have been"
        if figures["dry"]
        else f"{figures['fired']:,} {pulses}"
    )
    classes = " or ".join(record.settings.gate.classes)
    return f"{fired} fired for {figures['meant']:,} of {figures['events']:,} cells, as {classes}"


def second_line(record: SortRecord, figures: dict[str, Any]) -> str:
    """How pure and complete, as expected and in truth, and how fast; of a dry sort, as if its pulses had been fired."""
    parts = [record.name]
    if "events_per_s" in figures:
        parts.append(f"{figures['events_per_s']:,.0f} cells/s for {figures['seconds']:,.1f} s")
    for kind, name in (("expected", "expected"), ("by class alone", "expected_by_class_alone"), ("true", "true")):
        shares = figures.get(name, {})
        words = [f"{each} {percent(shares[each])}" for each in ("purity", "yield") if each in shares]
        if words:
            parts.append(f"{kind}: " + ", ".join(words))
    return "   ·   ".join(parts)


def third_line(figures: dict[str, Any]) -> str:
    """What makes it no success, or else how to read the second."""
    if "warning" in figures:
        return str(figures["warning"])
    words = f"wanted: {figures['wanted_are']}"
    if "expected_by_class_alone" in figures:
        words += ". Expected: with neighbours, as far as seen apart from the sorted cell; by class alone: without any"
    return words


def percent(share: float) -> str:
    """With as many digits as matter near 1."""
    return f"{share:.2%}" if share > 0.99 else f"{share:.1%}"


def verdict_words(verdict: str) -> str:
    """As a reader says it."""
    return verdict.replace("_", " ")
