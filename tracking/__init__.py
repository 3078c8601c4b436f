"""Cells to tracks: numpy and scipy only. In: Cells, one frame at a time. Out: Tracks with stable identities."""
