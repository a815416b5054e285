"""Decoding steps that are recorded and repeated by a crew of threads."""
