"""Renders chat templates as transformers does, in a sandboxed process, and tracks who wrote each character.

Templates are strangers' programs and contents are strangers' texts. :mod:`.authors` tracks who wrote each
character, :mod:`.environment` is transformers' environment for such texts, :mod:`.worker` the sandboxed
process and :mod:`.process` its parent's side. This file imports nothing, so that the process starts quickly.
"""
