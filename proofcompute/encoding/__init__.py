"""Bytes: the encoding of messages, a reader of known shapes, and files that appear whole or not at all."""
