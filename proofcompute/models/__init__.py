"""Models: cards, weights, files, vocabularies, and what checkpoints can be read."""
