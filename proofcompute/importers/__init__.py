"""Opens checkpoints, whatever their format, as a :class:`Checkpoint`, and compiles them into models."""

from proofcompute.errors.extras import lacking

try:
    from proofcompute.importers.checkpoint import Checkpoint
    from proofcompute.importers.compiling import PRECISIONS, compile_decoder
    from proofcompute.importers.gguf import open_gguf
    from proofcompute.importers.load import import_checkpoint, open_checkpoint
    from proofcompute.importers.located import packaged_smollm2
except ModuleNotFoundError as e:
    raise lacking(e, "importing a checkpoint") from e

__all__ = [
    "PRECISIONS",
    "Checkpoint",
    "compile_decoder",
    "import_checkpoint",
    "open_checkpoint",
    "open_gguf",
    "packaged_smollm2",
]
