"""Tables of results: on the terminal, and in RESULTS.md."""

import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

from acquisition.clock import utc_now

RESULTS = Path(__file__).with_name("RESULTS.md")


class Report:
    """Collects tables; prints each as soon as it is there."""

    def __init__(self) -> None:
        self.sections: list[str] = []

    def table(self, title: str, how: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        lines = [f"## {title}", "", how, "", "| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        text = "\n".join(lines)
        print(text + "\n", flush=True)
        self.sections.append(text)

    def write(self) -> None:
        head = (
            "# Results of `make bench`\n\n"
            f"Measured {utc_now()} on {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}. "
            "The machine was shared and noisy: believe the ratios and the medians first.\n"
            "The sections “Policies” are from `reflexscope score`.\n"
        )
        sections = self.sections + _scores()
        RESULTS.write_text("\n".join([head, *(section + "\n" for section in sections)]), encoding="utf-8")


def _scores() -> list[str]:
    """The sections that come from `reflexscope score`, which is no benchmark and takes much longer: they stay."""
    sections = RESULTS.read_text(encoding="utf-8").split("\n## ") if RESULTS.exists() else []
    return [f"## {section.strip()}" for section in sections if section.startswith("Policies: ")]
