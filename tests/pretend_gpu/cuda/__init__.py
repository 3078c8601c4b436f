"""Stands in for NVIDIA's package; see README.md beside it."""
