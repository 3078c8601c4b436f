"""Recorded movies as a camera: OME-TIFF, TIFF stacks and folders, OME-Zarr, and our own sessions."""
