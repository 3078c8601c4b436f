"""The command line at a desk: image files instead of a rig. Segment, classify, evaluate, train, export, list models."""
