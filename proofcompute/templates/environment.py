"""Provides the Jinja environment in which transformers renders chat templates, for texts with authors.

It has what a published model's template may rely on (transformers, ``chat_template_utils.py``): the immutable
sandbox, ``trim_blocks``, ``lstrip_blocks``, loop controls, ``{% generation %}`` blocks (which mark an
assistant's words for training and print their content), ``tojson`` without escapes and with the arguments of
``json.dumps``, ``raise_exception``, ``strftime_now``. It lacks ``lipsum`` and ``random``, because one
conversation must give one prompt, and the clock: ``strftime_now`` formats the date that was given with the
conversation.

The compiler wraps each constant of the template as the template's own text and joins pieces with
:func:`.authors.join`. Filters and calls run unchanged; their results are given an author afterwards.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache, wraps
from typing import Any, Final, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.environment import Template
from jinja2.ext import Extension
from jinja2.filters import make_attrgetter
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import pass_environment

from proofcompute.templates.authors import (
    NOBODY,
    TEMPLATE,
    Authored,
    authors_of,
    common_author,
    join,
    shown,
)

__all__ = ["ChatEnvironment", "Refused", "compile_template"]


_WITH_WIDTHS: Final = frozenset(("center", "indent", "replace", "truncate", "wordwrap"))
"""Filters that take numbers without printing them."""


class Refused(TemplateError):
    """The template itself refuses the conversation, by ``raise_exception``."""


class _Generation(Extension):
    """The block ``{% generation %}...{% endgeneration %}``, which prints its content."""

    tags = {"generation"}  # noqa: RUF012  # Jinja's own type

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_print"), [], [], body).set_lineno(line)

    def _print(self, caller: Callable[[], str]) -> str:
        return caller()


class _Generator(CodeGenerator):
    """Compiles a template so that its constants are marked as its own and pieces are joined with authors."""

    def visit_Const(self, node: nodes.Const, frame: Frame) -> None:
        value = node.as_const(frame.eval_ctx)
        if isinstance(value, str):
            self.write(f"environment.own({str.__str__(value)!r})")
        else:
            super().visit_Const(node, frame)

    def _output_const_repr(self, group: Iterable[Any]) -> str:
        return f"environment.own({''.join(map(str.__str__, group))!r})"

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        if frame.eval_ctx.volatile or frame.eval_ctx.autoescape:
            super()._output_child_pre(node, frame, finalize)
        else:
            self.write("environment.printed(")

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        if frame.eval_ctx.volatile or frame.eval_ctx.autoescape:
            super().visit_Concat(node, frame)
            return
        self.write("environment.concat(environment.printed(part) for part in (")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """The environment of transformers; ``now`` is the time that ``strftime_now`` formats."""

    code_generator_class = _Generator
    concat = staticmethod(join)  # Jinja's own hook for joining pieces
    printed = staticmethod(shown)

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # a folded list would hold texts that are not marked
            extensions=["jinja2.ext.loopcontrols", _Generation],
        )
        self.now = datetime.min

        def strftime_now(format: str) -> str:  # noqa: A002  # transformers' name
            return self.now.strftime(format)

        del self.globals["lipsum"], self.filters["random"]
        self.filters = {name: _authored(f, name in _WITH_WIDTHS) for name, f in self.filters.items()}
        self.filters |= {"tojson": _tojson, "join": _join}
        self.globals |= {"raise_exception": _raise_exception, "strftime_now": strftime_now}

    @staticmethod
    def own(text: str) -> Authored:
        """Mark a constant as the template's text."""
        return Authored(text, TEMPLATE)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call an object from a template; a text that it returns is given an author."""
        found = super().call(__context, __obj, *args, **kwargs)
        method = getattr(__obj, "__wrapped__", None)  # the sandbox wraps str.format and format_map
        if method is not None and type(found) is Authored:
            found = str.__str__(found)
        given = [v for k, v in kwargs.items() if k not in ("_loop_vars", "_block_vars")]  # Jinja's own
        if type(found) is not str:
            return found
        return Authored(found, common_author([getattr(method or __obj, "__self__", None), *args, *given]))


@lru_cache(maxsize=1)
def compile_template(source: str) -> tuple[ChatEnvironment, Template]:
    """Compile the template ``source`` in an environment of its own. Raises Jinja's errors."""
    environment = ChatEnvironment()
    return environment, environment.from_string(source)


def _authored(f: Callable[..., Any], widths: bool) -> Callable[..., Any]:
    """Wrap a filter so that its result has an author if all its operands have the same.

    With ``widths``, its numbers except the filtered value are widths and counts, which are not printed.
    """
    first = 1 if hasattr(f, "jinja_pass_arg") else 0

    @wraps(f)
    def filtered(*args: Any, **kwargs: Any) -> Any:
        found, given = f(*args, **kwargs), [*args[first:], *kwargs.values()]
        author = common_author([v for i, v in enumerate(given) if not (i and widths and type(v) is int)])
        if type(found) is Authored:  # it may contain pieces by Jinja, such as the spaces of an indentation
            return Authored(found, authors_of(found).replace(NOBODY, author))
        return Authored(found, author) if type(found) is str else found

    return filtered


@pass_environment
def _join(environment: ChatEnvironment, value: Any, d: str = "", attribute: Any = None) -> Authored:
    if attribute is not None:
        value = map(make_attrgetter(environment, attribute), value)
    return Authored(d, authors_of(d)).join(map(shown, value))  # a text that is Markup has no author


def _raise_exception(message: object) -> NoReturn:
    """Refuse the conversation; templates call this."""
    raise Refused(str(message)[:1000])


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> Authored:
    """Return ``json.dumps``; texts in it keep their authors, and the template is the author of the rest."""

    def dump(thing: Any) -> str:
        return json.dumps(
            thing, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    whole, mark = dump(value), secrets.token_hex(16)
    texts: list[str] = []
    try:
        pieces = re.split(f"{mark}([0-9]+)\\.", dump(_hollow(value, mark, texts)))
    except _NotFollowedError:
        return Authored(whole)
    parts: list[str] = []
    for i, piece in enumerate(pieces):
        if i % 2 == 0:
            # the structure is the template's, but its numbers may be anybody's
            parts.append(Authored(piece, "".join(NOBODY if c.isdigit() else TEMPLATE for c in piece)))
            continue
        text = texts[int(piece)]
        authors = (
            a * (len(json.dumps(c, ensure_ascii=ensure_ascii)) - 2)
            for c, a in zip(str.__iter__(text), authors_of(text), strict=True)
        )
        parts.append(Authored(json.dumps(text, ensure_ascii=ensure_ascii)[1:-1], "".join(authors)))
    made = join(parts)
    return made if str.__eq__(made, whole) else Authored(whole)


class _NotFollowedError(Exception):
    """The value has a key that is not the template's, so its authors cannot be tracked."""


def _hollow(value: Any, mark: str, texts: list[str]) -> Any:
    """Return ``value`` with a placeholder for each text that is no key; append the texts to ``texts``."""
    if isinstance(value, str):
        texts.append(value)
        return f"{mark}{len(texts) - 1}."
    if isinstance(value, dict):
        if any(isinstance(key, str) and authors_of(key).strip(TEMPLATE) for key in value):
            raise _NotFollowedError
        return {key: _hollow(item, mark, texts) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_hollow(item, mark, texts) for item in value]
    return value
