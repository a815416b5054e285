"""Lowers graphs of ATen operations, which modules of PyTorch become (extra ``torch``).

Whatever a module holds, exporting and compiling it raise InputError or a kind of it: what cannot be lowered
is a :class:`~proofcompute.importers.lowering.values.RefusedError` that names the node and the reason. Only
:mod:`.exporting`, :mod:`.evaluating`, :mod:`.choosing` and :mod:`.batches` import PyTorch.
"""
