"""Carry verified work to the networks where it is sold: one adapter for each, in the form that it knows."""
