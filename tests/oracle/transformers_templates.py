"""What transformers' ``apply_chat_template`` gives, from its documented environment; imports nothing of the
package.

Source: transformers, ``utils/chat_template_utils.py`` (Apache 2.0) read, not copied: the immutable sandbox
with trimmed blocks, loop controls, a ``generation`` block that prints what is in it, ``tojson`` with the
arguments of ``json.dumps``, ``raise_exception``, ``strftime_now``; ``tools`` and ``documents`` are None where
none are given.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["apply_chat_template"]


class _Generation(Extension):
    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = parser.stream.expect("name:generation").lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_said"), [], [], body).set_lineno(line)

    def _said(self, caller: Callable[[], str]) -> str:
        return caller()


def _stop(message: str) -> NoReturn:
    raise TemplateError(message)


def _json(
    value: Any,
    ensure_ascii: bool = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def apply_chat_template(
    template: str, messages: Sequence[tuple[str, Any]], *, now: datetime, **variables: Any
) -> str:
    """The prompt for ``messages`` (role, content)."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _json
    environment.globals["raise_exception"] = _stop
    environment.globals["strftime_now"] = now.strftime
    return environment.from_string(template).render(
        messages=[{"role": role, "content": content} for role, content in messages],
        tools=None,
        documents=None,
        **variables,
    )
