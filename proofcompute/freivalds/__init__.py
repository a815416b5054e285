"""Freivalds' check of matrix products: fields, columns, hints, keys' logs of attempts, and soundness."""
