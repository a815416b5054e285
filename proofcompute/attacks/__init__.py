"""Attacks on a model of one's own, in every mode of trust, and what must stop each."""
