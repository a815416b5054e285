"""Commands about models and keys: ``import``, ``keygen``, ``identity``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.console import Output, complain, size
from proofcompute.cli.files import check_output
from proofcompute.cli.kinds import expect
from proofcompute.cli.networks import NetworkOptions, PixelOptions, import_onnx
from proofcompute.cli.options import Device, Force, Json, Out, command_line, kernels, typed
from proofcompute.cli.progress import progress
from proofcompute.errors import InputError

if TYPE_CHECKING:
    from proofcompute.importers.compiling import Precision
    from proofcompute.models.model import Model

__all__ = ["identity", "import_", "keygen"]

_NETWORK = ("shape", "constant", "example", "whole_batch", "pixels", "divisor", "mean", "std", "bgr")
"""Options for ONNX files only."""


def import_(
    call: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            help="Checkpoint: a GGUF file, a folder in the layout of Hugging Face, or an ONNX file (.onnx).",
            show_default=False,
        ),
    ],
    output: Out,
    precision: Annotated[
        str | None,
        typer.Option(
            help="w8a8, w8a16, w16a16, or auto: chosen for each matrix.",
            show_default="auto; w16a16 of encoders and ONNX",
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="Instead of --precision: a file with one that was chosen before (inspect prints it)."
        ),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            help="Most positions wanted, where a model rotates long texts otherwise; most rows, for ONNX."
        ),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(help="Of an ONNX file's input, if it is open: NAME=1,3,224,224, the batch first."),
    ] = None,
    constant: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="An input of an ONNX file that is the same in each request: axes=1,2 or table=FILE.npy.",
        ),
    ] = None,
    example: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FILE",
            help="Samples of an ONNX file's input for auto to choose by: .npy, .json, pictures for --pixels",
        ),
    ] = None,
    whole_batch: Annotated[
        bool,
        typer.Option("--whole-batch", help="A row is a whole batch of the ONNX file, not one sample."),
    ] = False,
    pixels: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="An input of an ONNX file that is made of pictures."),
    ] = None,
    divisor: Annotated[
        float | None, typer.Option(help="Of pixels: divides them.", show_default="255")
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="Of pixels: subtracted then, as 0.485,0.456,0.406 or one number.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="Of pixels: divides them last.")] = None,
    bgr: Annotated[bool, typer.Option("--bgr", help="Of pixels: blue comes first.")] = False,
    force: Force = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Compile a checkpoint or a network into a model file. If a GGUF file is split, name its first part."""
    out = Output(json)
    check_output(output, force=force)
    if precision is not None and recipe is not None:
        raise InputError("--precision and --recipe both say how exact the model is; give one of them")
    start = time.perf_counter()
    if source.suffix == ".onnx":
        options = NetworkOptions(
            shape or (),
            constant or (),
            example or (),
            PixelOptions(pixels or (), divisor, mean, std, bgr),
            context,
            whole_batch,
        )
        text = None if recipe is None else _text(recipe)
        model = import_onnx(source, precision, text, kernels(device), options)
        _saved(out, model, output, (), time.perf_counter() - start)
        return
    if wrong := typed(call, _NETWORK):
        raise InputError(f"{wrong[0]} is for ONNX files")
    from proofcompute.importers import compile_decoder, open_checkpoint
    from proofcompute.importers.compiling import check_precision

    wanted = precision if recipe is None else _recipe(recipe)
    if wanted is not None:
        check_precision(wanted)  # this and the device before a long read
    backend = kernels(device)
    checkpoint = open_checkpoint(source, context=context)
    for note in checkpoint.notes:
        complain(f"note: {note}")
    with progress("import") as advance:
        model = compile_decoder(checkpoint, backend, wanted, lambda done, total: advance(1, total))
    _saved(out, model, output, checkpoint.notes, time.perf_counter() - start)


def _saved(out: Output, model: Model, output: Path, notes: Sequence[str], seconds: float) -> None:
    """Write a model that was imported, and say what it is."""
    model.save(output)
    nbytes = output.stat().st_size
    out.say(f"{output}: {size(nbytes)}, model id {model.model_id.hex()}")
    out.result(
        {
            "model": str(output),
            "model_id": model.model_id.hex(),
            "precision": model.manifest["precision"],
            "recipe": model.manifest["recipe"],
            "notes": notes,
            "bytes": nbytes,
            "seconds": seconds,
        }
    )


def _recipe(path: Path) -> Precision:
    from proofcompute.importers.compiling import Precision

    return Precision.from_recipe(_text(path))


def _text(path: Path) -> str:
    """Return the text of a recipe's file."""
    from proofcompute.encoding.files import read_limited
    from proofcompute.limits import MAX_TEXT

    try:
        return read_limited(path, MAX_TEXT, "recipe").decode()
    except UnicodeDecodeError as e:
        raise InputError(f"{path} is not UTF-8 at byte {e.start}") from e


def identity(output: Out, force: Force = False, json: Json = False) -> None:
    """Make a node's signing key (Ed25519) and print its public key."""
    check_output(output, force=force)
    from proofcompute.commitments.signing import NodeIdentity

    key = NodeIdentity.new()
    key.save(output)
    out = Output(json)
    out.say(f"public key {key.public.hex()}")
    out.result({"identity": str(output), "public": key.public.hex()})


def keygen(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="Model file.", show_default=False)],
    output: Out,
    columns: Annotated[int, typer.Option(help="Freivalds columns; each adds 31 bits of soundness.")] = 2,
    force: Force = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Make a verifier's key for a model. The file is secret: nodes must never see it.

    If interrupted, it leaves OUTPUT.partial, which is just as secret, and continues from there next time.
    """
    out = Output(json)
    check_output(output, force=force, plain=True)
    start = time.perf_counter()
    expect(model, "model")
    from proofcompute.freivalds.soundness import shown, soundness_bits
    from proofcompute.models.file import ModelFile
    from proofcompute.verifier import write_key

    file = ModelFile.open(model)
    work = sum(s.rows * s.row_bytes for s in file.card.program.weights)
    try:
        with progress("keygen", work) as advance:
            key = write_key(file, kernels(device), output, columns=columns, progress=advance)
    except KeyboardInterrupt:
        out.say(f"interrupted; to continue: {command_line(context, model)}")
        raise
    nbytes, bits = output.stat().st_size, soundness_bits(columns, 1)
    out.say(f"{output}: {size(nbytes)}, soundness {shown(bits)}. Keep it secret.")
    out.result(
        {
            "key": str(output),
            "model_id": key.model_id.hex(),
            "columns": columns,
            "soundness_bits": bits,
            "bytes": nbytes,
            "seconds": time.perf_counter() - start,
        }
    )
