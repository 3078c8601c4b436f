"""Torch modules: the shapes of our networks. Loaded only to train, to export and by the torch engine."""
