"""Image-activated sorting: gate, verdicts, records. Read realtime/sorting.py first."""
