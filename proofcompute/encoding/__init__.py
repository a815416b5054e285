"""The encoding of messages, a reader of known shapes, frames, and files that appear whole or not at all."""
