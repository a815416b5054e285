"""Freivalds' check of matrix products: field, columns, claims, hints, and how sure it is."""
