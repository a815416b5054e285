"""Circle codes, the extension field, and sumcheck: the mathematics of public proofs without weights."""
