"""The session folder: config, images, tracks, journal and summary of one run."""
