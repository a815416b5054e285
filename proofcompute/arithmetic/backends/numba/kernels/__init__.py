"""The arithmetic: what is computed."""
