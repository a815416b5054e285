"""Builds programs operation by operation; :class:`proofcompute.ProgramBuilder` puts the parts together."""
