"""Renders one chat template in a process of its own; :mod:`proofcompute.templates.process` runs this script.

The template comes from a stranger's file. Jinja's immutable sandbox keeps it from Python's internals, but not
from looping or from building huge strings, so the operating system limits this process: its processor time
per conversation, its memory, and it can open no further files or sockets. It imports two small files of the
package and starts quickly.

Messages on standard input and output are four bytes with the length, then JSON. The first is ``{template,
memory}``; each further one is a conversation, ``{messages, parts, variables, date, max_output,
cpu_seconds}``. The answer is ``{text, authors, lengths}``, an author and a length for each run of characters,
or ``{error, kind}``, where the kind is ``refused`` (by the template itself), ``limit`` or ``fault``.
"""

from __future__ import annotations

import json
import math
import re
import resource
import sys
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from jinja2 import Template, TemplateError

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from proofcompute.templates.authors import TEMPLATE, Authored, authors_of, join, message_author
from proofcompute.templates.environment import ChatEnvironment, Refused, compile_template

_TEMPLATE_FAULTS: Final = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""The errors of expressions and filters; any other error ends the process, which refuses the conversation."""


class _TooLongError(TemplateError):
    """The prompt is longer than allowed."""


_MAX_RUNS: Final = 1 << 18
"""The most runs of characters by one author in a prompt."""
_LATER: Final = ("jinja2.debug", "encodings.unicode_escape", "unicodedata", "pprint", "textwrap")
"""Modules that Jinja imports on first use; they are imported before opening files becomes impossible."""


def _limit_process(memory: int) -> None:
    for name in _LATER:
        import_module(name)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NOFILE):
        resource.setrlimit(limit, (0, 0))


def _limit_time(seconds: int) -> None:
    """Let the system end the process after ``seconds`` more of processor time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    until, hard = (
        math.ceil(used.ru_utime + used.ru_stime) + seconds,
        resource.getrlimit(resource.RLIMIT_CPU)[1],
    )
    resource.setrlimit(resource.RLIMIT_CPU, (until if hard < 0 else min(until, hard), hard))


def _own(text: str) -> Authored:
    return Authored(text, TEMPLATE)


def _messages(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the conversation as the template sees it: contents are texts, or lists of one part each."""
    found: list[dict[str, Any]] = []
    for i, (role, content) in enumerate(job["messages"]):
        authored: Any = Authored(content, message_author(i))
        if job["parts"]:
            authored = [{_own("type"): _own("text"), _own("text"): authored}]
        found.append({_own("role"): _own(role), _own("content"): authored})
    return found


def _render(environment: ChatEnvironment, template: Template, job: dict[str, Any]) -> dict[str, Any]:
    environment.now = datetime.fromisoformat(job["date"])
    variables: dict[str, Any] = {k: _own(v) if isinstance(v, str) else v for k, v in job["variables"].items()}
    parts, size = [], 0
    for part in template.generate(messages=_messages(job), tools=None, documents=None, **variables):
        size += len(part)
        if size > job["max_output"]:
            raise _TooLongError(f"it gives more than {job['max_output']} characters")
        parts.append(part)
    text = join(parts)
    authors, lengths = [], []
    for run in re.finditer(r"(.)\1*", authors_of(text), re.DOTALL):
        authors.append(run[1])
        lengths.append(run.end() - run.start())
        if len(authors) > _MAX_RUNS:
            raise _TooLongError(f"its output changes its author more than {_MAX_RUNS} times")
    return {"text": text, "authors": "".join(authors), "lengths": lengths}


def _answer(source: str, job: dict[str, Any]) -> dict[str, Any]:
    try:
        _limit_time(job["cpu_seconds"])
        return _render(*compile_template(source), job)
    except MemoryError:
        return {"error": "it takes too much memory", "kind": "limit"}
    except RecursionError:
        return {"error": "it is nested too deeply", "kind": "limit"}
    except _TooLongError as e:
        return {"error": str(e), "kind": "limit"}
    except _TEMPLATE_FAULTS as e:
        return {
            "error": f"{type(e).__name__}: {e}"[:1000],
            "kind": "refused" if isinstance(e, Refused) else "fault",
        }


def _read() -> dict[str, Any] | None:
    head = sys.stdin.buffer.read(4)
    if len(head) < 4:
        return None
    found: dict[str, Any] = json.loads(sys.stdin.buffer.read(int.from_bytes(head, "little")))
    return found


def main() -> None:
    """Answer conversations until there are no more."""
    first = _read()
    if first is None:
        return
    _limit_process(first["memory"])
    while (job := _read()) is not None:
        answer = json.dumps(_answer(first["template"], job)).encode()
        sys.stdout.buffer.write(len(answer).to_bytes(4, "little") + answer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
