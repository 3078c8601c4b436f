"""Strips to pulses: the whole sort on one page.

    stack of strips ─ StripFinder ─→ sightings ─ FlowTracker ─→ cells with arrival times
                                         └ crops ─ classifier, one batch ─→ evidence a cell ─ gate, verdicts ─→ pulses

The same object runs in the inference process, inline without any process, and in replay. It knows no clock but that of
the strips: whether a pulse comes too late is for the process that owns the rig to say.
"""
