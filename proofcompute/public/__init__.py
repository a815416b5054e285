"""Public proofs from coded weights: anybody checks them, without weights and without a secret."""
