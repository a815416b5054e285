"""The application: all commands, and how errors become messages and exit statuses."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Annotated

import typer

from proofcompute.cli.console import complain, rejection
from proofcompute.cli.progress import tell_of_compilation, tell_of_warnings
from proofcompute.errors import (
    BeaconError,
    EnvelopeError,
    EvidenceError,
    LedgerError,
    ProofcomputeError,
    VerdictError,
    VerificationError,
)
from proofcompute.version import __version__

__all__ = ["COMMANDS", "app", "run"]

REJECTED, UNUSABLE, INTERRUPTED, NO_READER = 1, 2, 130, 141
"""Exit statuses other than 0; the last two are 128 plus the signal's number, as in shells."""

COMMANDS: Mapping[str, str] = {
    "import": "model_commands.import_",
    "inspect": "inspecting.inspect",
    "quality": "quality_command.quality",
    "identity": "model_commands.identity",
    "keygen": "model_commands.keygen",
    "card": "card_commands.card",
    "terms": "card_commands.terms",
    "request": "request_command.request",
    "run": "node_commands.run",
    "serve": "serve_command.serve",
    "pipeline": "stage_commands.pipeline",
    "stage": "stage_commands.stage",
    "gateway": "gateway_command.gateway",
    "ask": "ask_command.ask",
    "audit": "audit_command.audit",
    "policy": "planning_commands.policy",
    "plan": "planning_commands.plan",
    "challenge": "verify_commands.challenge",
    "open": "node_commands.open_",
    "verify": "verify_commands.verify",
    "replay": "replay_command.replay",
    "verify-many": "verify_commands.verify_many",
    "verify-public": "verify_commands.verify_public",
    "publish": "public_commands.publish",
    "prove": "proof_commands.prove",
    "verify-proof": "proof_commands.verify_proof",
    "beacon": "beacon_commands.group",
    "verify-evidence": "evidence_command.verify_evidence",
    "verdict": "verdict_commands.group",
    "ledger": "ledger_commands.group",
    "auditor": "auditor_command.auditor",
    "job": "job_commands.group",
    "network": "network_commands.group",
    "devices": "device_commands.devices",
    "warm-up": "device_commands.warm_up",
    "cubins": "device_commands.cubins",
    "attack": "attack_command.attack",
    "demo": "demo.demo",
    "bench": "bench_command.bench",
}
"""The function of each command, or a group of commands, in the order of the help."""
SUPPORTED = ("import", "inspect")
"""Commands whose help lists what can be imported."""


def _version(value: bool) -> None:
    if value:
        print(f"proofcompute {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Check that an untrusted node's neural-network answer is exactly what the model gives."""


def app(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """Make the application with the named commands.

    Importing all commands takes longer than running many of them, so :func:`run` includes only the one it
    needs.
    """
    made = typer.Typer(
        name="proofcompute",
        help="Check that an untrusted node's neural-network answer is exactly what the model gives.",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    made.callback()(_root)
    for name in names:
        module, function = COMMANDS[name].split(".")
        epilog = None
        if name in SUPPORTED:
            from proofcompute.models.supported import summary

            epilog = summary()
        found = getattr(import_module(f"proofcompute.cli.{module}"), function)
        if isinstance(found, typer.Typer):
            made.add_typer(found, name=name)
        else:
            made.command(name, epilog=epilog)(found)
    return made


# typer does not export the base class of usage errors; it is BadParameter's grandparent
_USAGE: type[Exception] = typer.BadParameter.__mro__[2]


def run(argv: Sequence[str] | None) -> int:
    """Run one command; turn every foreseeable error into one message, without a traceback, and a status."""
    args = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in args
    try:
        with tell_of_compilation(), tell_of_warnings():
            # a shell that asks for completions passes no command
            names = args[:1] if args[:1] and args[0] in COMMANDS else COMMANDS
            # only some releases of typer show the help without arguments, so it is asked for
            status = app(names)(args=args or ["--help"], prog_name="proofcompute", standalone_mode=False)
        sys.stdout.flush()
        return UNUSABLE if not args else status if isinstance(status, int) else 0
    except VerificationError as e:
        return _report(as_json, str(e), REJECTED, rejection(e), "REJECTED: ")
    except EnvelopeError as e:
        return _report(as_json, str(e), REJECTED, mark="INVALID: ")
    except (BeaconError, EvidenceError, LedgerError, VerdictError) as e:
        fault = {"fault": e.fault.value} if isinstance(e, VerdictError) else {}
        return _report(as_json, str(e), REJECTED, {"verified": False, **fault}, "REJECTED: ")
    except ProofcomputeError as e:
        return _report(as_json, str(e), UNUSABLE)
    except (KeyboardInterrupt, typer.Abort):
        return _report(as_json, "interrupted", INTERRUPTED)
    except SystemExit as e:
        # typer exits with 0 after a completion for the shell, and with 1, which means a rejection here, when
        # nobody reads its output
        return 0 if not e.code else NO_READER if e.code == 1 else UNUSABLE
    except BrokenPipeError:
        # without this, Python would report the broken pipe once more when it closes the stream
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
    except OSError as e:
        return _report(as_json, f"the operating system reports: {e}", UNUSABLE)
    except MemoryError as e:
        return _report(as_json, f"not enough memory{f': {e}' if str(e) else ''}", UNUSABLE)
    except _USAGE as e:
        text = _text(e)
        if not text:
            return UNUSABLE
        context = getattr(e, "ctx", None)
        command = "proofcompute" if context is None else context.command_path
        return _report(as_json, f"{text} (see: {command} --help)", UNUSABLE)


def _text(error: Exception) -> str:
    format_message = getattr(error, "format_message", None)
    return str(format_message() if format_message is not None else error)


def _report(
    as_json: bool, text: str, status: int, fields: dict[str, object] | None = None, mark: str = ""
) -> int:
    complain(mark + text)
    if as_json:
        print(json.dumps({**(fields or {}), "error": text}), flush=True)
    return status
