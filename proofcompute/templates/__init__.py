"""Rendering chat templates as transformers does, in a process that can do no harm, knowing who wrote what.

Templates are strangers' programs and contents are strangers' texts. :mod:`.authors` tracks who wrote each
character, :mod:`.environment` is transformers' environment over such texts, :mod:`.worker` the sandboxed
process and :mod:`.process` its parent's side. This file imports nothing, so that the process starts quickly.
"""
