"""Represents models: cards, weights, files, vocabularies, and the list of supported checkpoints."""
