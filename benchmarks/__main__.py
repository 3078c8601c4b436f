"""`python -m benchmarks [NAME …]`: run all, or only those named; all together rewrite RESULTS.md."""

import importlib
import sys

from benchmarks.tables import Report

ALL = (
    "transport",
    "recorder",
    "latency",
    "reflexes",
    "effects",
    "pulse_timing",
    "sorting",
    "memory",
    "measurement",
    "engines",
    "perception",
    "tracking",
    "simulated",
)


def main() -> None:
    names = sys.argv[1:] or list(ALL)
    if unknown := set(names) - set(ALL):
        sys.exit(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    report = Report()
    for name in names:
        importlib.import_module(f"benchmarks.{name}").main(report)
    if names == list(ALL):
        report.write()


if __name__ == "__main__":
    main()
