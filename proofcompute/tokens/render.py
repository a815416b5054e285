"""Renders one chat template in a process of its own; run as a script by :mod:`proofcompute.tokens.template`.

The template comes from a stranger's file. Jinja's immutable sandbox keeps it from Python's internals, but not
from looping or from building huge strings, so the operating system limits this process: processor time,
memory, no files to write. It imports nothing from the package and starts quickly.

Reads JSON from standard input (template, context, max_output, cpu_seconds, memory), writes JSON to standard
output: ``{"text": ...}`` or ``{"error": ...}``.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any, Final, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

_TEMPLATE_FAULTS: Final = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What expressions and filters raise; anything else ends the process, which is a refusal without words."""


def _limit(job: dict[str, Any]) -> None:
    seconds, memory = job["cpu_seconds"], job["memory"]
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _raise_exception(message: object) -> NoReturn:
    """What a template calls to refuse a conversation."""
    raise TemplateError(str(message)[:1000])


def _tojson(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _render(job: dict[str, Any]) -> str:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _tojson
    del environment.filters["random"], environment.globals["lipsum"]  # one conversation, one prompt
    template = environment.from_string(job["template"], globals={"raise_exception": _raise_exception})
    parts, size = [], 0
    for part in template.generate(job["context"]):
        size += len(part)
        if size > job["max_output"]:
            raise TemplateError(f"it gives more than {job['max_output']} characters")
        parts.append(part)
    return "".join(parts)


def main() -> None:
    """Do one job."""
    job = json.loads(sys.stdin.buffer.read())
    _limit(job)
    try:
        answer = {"text": _render(job)}
    except MemoryError:
        answer = {"error": "it takes too much memory"}
    except RecursionError:
        answer = {"error": "it is nested too deeply"}
    except _TEMPLATE_FAULTS as e:
        answer = {"error": f"{type(e).__name__}: {e}"[:1000]}
    sys.stdout.buffer.write(json.dumps(answer).encode())


if __name__ == "__main__":
    main()
