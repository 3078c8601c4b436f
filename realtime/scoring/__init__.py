"""Policies judged against the truth of the simulated laboratory: arms × seeds → figures, tables and a plot."""
