"""Cases: Attention with options, and the rows of heads that it reads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kernel_cases.data import KINDS, Args, Case, floats, full, int8s, scales, spoilt
from proofcompute.arithmetic.kernels import AttentionOptions
from proofcompute.arrays import F32, I8
from proofcompute.errors import ExecutionError, InputError, NonFiniteError, ProofcomputeError
from proofcompute.limits import MAX_ROWS


@dataclass(frozen=True)
class Form:
    """Sizes and options of one call; columns is 0 if values are the first columns of the keys."""

    heads: int = 6
    kv_heads: int = 2
    width: int = 7
    columns: int = 5
    n: int = 3
    first: int = 10
    limbs: int = 1
    key_limbs: int = 1
    value_limbs: int = 1
    window: int = 0
    softcap: float = 0.0
    sinks: float | None = None
    """The largest sink."""
    latent: int = 0
    scale: float = 0.25
    spare: int = 2
    ahead: int = 0

    def __str__(self) -> str:
        return "-".join(str(v) for v in vars(self).values())


def _limbed(t: int, heads: int, limbs: int, d: int, key: object) -> I8:
    return int8s(t, heads, d, key=key) if limbs == 1 else int8s(t, heads, 2, d, key=key)


def _scales(t: int, *shape: int, end: int, key: str) -> F32:
    """Scales, with nonsense in rows that nobody sees."""
    s = scales(t, *shape, key=key)
    s[end:] = np.nan if key == "k" else -1
    return s


def attend(f: Form) -> list[Any]:
    """The arguments of ``attention``."""
    t = f.first + f.n + f.spare
    end = min(f.first + f.n + f.ahead, t)
    kq = _limbed(t, f.kv_heads, f.key_limbs, f.width, "k")
    ks = _scales(t, f.kv_heads, *([2] if f.latent else []), end=end, key="k")
    vq = None if f.latent else _limbed(t, f.kv_heads, f.value_limbs, f.columns, "v")
    vs = None if f.latent else _scales(t, f.kv_heads, end=end, key="v")
    sinks = None if f.sinks is None else floats("normal", f.heads) + np.float32(f.sinks)
    options = AttentionOptions(f.limbs, np.float32(f.softcap), sinks, f.latent, f.ahead)
    q = floats("normal", f.n, f.heads * f.width)
    return [q, kq, ks, vq, vs, f.first, np.float32(f.scale), f.window, options]


def _with(f: Form, change: Callable[[list[Any]], None]) -> Args:
    args = attend(f)
    change(args)
    return tuple(args)


def _set(position: int, value: float, at: object = ...) -> Callable[[list[Any]], None]:
    def change(args: list[Any]) -> None:
        args[position][at] = value

    return change


def _wide_values(args: list[Any]) -> None:
    args[VS] = np.abs(floats("wide", *args[VS].shape))


def _lowest(args: list[Any]) -> None:
    """Keys and values that no quantiser makes: each limb is -128."""
    args[Q] = np.full_like(args[Q], -1)
    args[KQ], args[VQ] = full(-128, *args[KQ].shape), full(-128, *args[VQ].shape)


Q, KQ, KS, VQ, VS, OPTIONS = 0, 1, 2, 3, 4, 8
ALL = Form(limbs=2, key_limbs=2, value_limbs=2, softcap=1.5, sinks=0.5)
LATENT = replace(ALL, columns=0, latent=5)


def cases() -> Iterator[Case]:
    for limbs, key_limbs, value_limbs, cap, sink, window in itertools.product(
        (1, 2), (1, 2), (0, 1, 2), (0.0, 1.5), (None, 0.5), (0, 4)
    ):
        options = {"limbs": limbs, "key_limbs": key_limbs, "softcap": cap, "sinks": sink, "window": window}
        values = {"value_limbs": value_limbs} if value_limbs else {"columns": 0, "latent": 5}
        f = replace(Form(), **options, **values)  # type: ignore[arg-type]
        yield Case("attention", f"options-{f}", lambda f=f: tuple(attend(f)))
    for f in (
        replace(Form(), heads=1, kv_heads=1, width=1, columns=3, n=1, first=0),
        replace(ALL, heads=1, kv_heads=1, width=1, columns=1, n=1, first=0, spare=0),
        replace(ALL, heads=9, kv_heads=3, width=64, columns=33, n=1, first=300),
        replace(ALL, heads=4, kv_heads=4, width=33, columns=130, n=17, first=48, window=20),
        replace(ALL, heads=4, kv_heads=1, width=130, columns=64, n=70, first=0, window=1),
        replace(ALL, heads=2, kv_heads=1, width=8, columns=8, n=40, first=300, softcap=0.0, sinks=None),
        replace(Form(), heads=8, kv_heads=2, width=16, columns=70, n=40, first=0, value_limbs=2),
        replace(LATENT, heads=5, kv_heads=1, width=40, latent=33, n=33, first=70),
        replace(LATENT, heads=16, kv_heads=1, width=9, latent=8, n=1, first=65, window=7),
        replace(LATENT, heads=2, kv_heads=2, width=9, latent=1, n=0, first=5),
        replace(LATENT, heads=1, kv_heads=1, width=1100, latent=1030, n=2, first=3),
    ):
        yield Case("attention", f"options-{f}", lambda f=f: tuple(attend(f)))
    for n, first, spare, window, ahead in (
        (1, 0, 0, 0, 1),
        (1, 3, 9, 0, 1),
        (5, 0, 0, 0, MAX_ROWS),
        (3, 4, 20, 0, MAX_ROWS),
        (3, 4, 20, 0, 7),
        (7, 60, 90, 9, 8),
        (40, 30, 50, 17, 16),
        (70, 0, 3, 1, 5),
        (2, 0, 300, 3, 40),
        (33, 500, 400, 300, 299),
    ):
        here = {"n": n, "first": first, "spare": spare, "window": window, "ahead": ahead}
        for f in (
            Form(),
            replace(Form(), heads=3, kv_heads=3, width=32, columns=33, limbs=2, key_limbs=2, value_limbs=2),
            ALL,
            LATENT,
        ):
            f = replace(f, **here)
            yield Case("attention", f"options-{f}", lambda f=f: tuple(attend(f)))
    long = replace(ALL, heads=2, kv_heads=1, width=4, columns=3, n=2, first=33000)
    yield Case("attention", "long-options", lambda: tuple(attend(long)))
    yield Case("attention", "long-window-options", lambda: tuple(attend(replace(long, window=100))))
    forms = {
        "sharp": replace(ALL, scale=1e4, softcap=0.0),
        "sharp-capped": replace(ALL, scale=1e30),
        "falling": replace(ALL, scale=-3.0),
        "tiny-cap": replace(ALL, softcap=1e-38),
        "least-cap": replace(ALL, softcap=1e-45),
        "huge-cap": replace(ALL, softcap=3e38),
        "sinks-far-above": replace(ALL, sinks=3e38),
        "sinks-above": replace(ALL, sinks=90.0, softcap=0.0),
        "sinks-far-below": replace(ALL, sinks=-3e38),
        "one-seen": replace(ALL, window=1),
    }
    for name, f in forms.items():
        yield Case("attention", f"options-{name}", lambda f=f: tuple(attend(f)))
    changes: dict[str, Callable[[list[Any]], None]] = {
        "q-zero": _set(Q, 0),
        "v-scale-zero": _set(VS, 0),
        "v-scale-subnormal": _set(VS, 1e-45),
        "v-scale-least": _set(VS, 2.2e-31),  # 2^26 / M is near the largest number
        "v-scale-less": _set(VS, 1.8e-31),
        "v-scale-wide": _wide_values,
        "v-zero": _set(VQ, 0),
        "lowest": _lowest,
        "sinks-minus-zero": lambda a: _set(0, -0.0)([a[OPTIONS].sinks]),
    }
    for name, change in changes.items():
        yield Case("attention", f"options-{name}", lambda c=change: _with(replace(ALL, spare=0), c))
    wide = replace(ALL, heads=1, kv_heads=1, width=32768, columns=2, n=1, first=1, spare=0)
    yield Case("attention", "long-options-lowest", lambda: _with(wide, _lowest))
    yield from _bad()
    yield from _heads()


def _bad() -> Iterator[Case]:
    def sinks(value: float) -> Callable[[list[Any]], None]:
        return lambda args: _set(0, value, 3)([args[OPTIONS].sinks])

    bad: dict[str, tuple[Form, Callable[[list[Any]], None], type[ProofcomputeError]]] = {
        "sink-nan": (ALL, sinks(np.nan), NonFiniteError),
        "sink-infinite": (ALL, sinks(np.inf), NonFiniteError),
        "sink-never": (ALL, sinks(-np.inf), NonFiniteError),
        "q-nan": (ALL, _set(Q, np.nan, (2, 41)), NonFiniteError),
        "capped-infinite": (replace(ALL, scale=3e38), _set(Q, 3e38), NonFiniteError),
        "latent-q-infinite": (LATENT, _set(Q, np.inf, (2, 41)), NonFiniteError),
        "latent-scale-nan": (LATENT, _set(KS, np.nan, (12, 1, 1)), NonFiniteError),
        "latent-scale-negative": (LATENT, _set(KS, -1e-45, (0, 1, 0)), ExecutionError),
        "latent-infinite": (replace(LATENT, scale=3e38), _set(Q, 3e38), NonFiniteError),
        "v-scale-negative": (ALL, _set(VS, -1, (0, 0)), ExecutionError),
    }
    for name, (f, change, error) in bad.items():
        yield Case("attention", f"options-{name}", lambda f=f, c=change: _with(f, c), error)

    def options(**changed: Any) -> Callable[[list[Any]], None]:
        def change(args: list[Any]) -> None:
            args[OPTIONS] = replace(args[OPTIONS], **changed)

        return change

    def put(position: int, value: Any) -> Callable[[list[Any]], None]:
        def change(args: list[Any]) -> None:
            args[position] = value

        return change

    wrong: dict[str, tuple[Form, Callable[[list[Any]], None]]] = {
        "limbs": (ALL, options(limbs=3)),
        "sinks": (ALL, options(sinks=scales(5))),
        "ahead-negative": (ALL, options(ahead=-1)),
        "ahead-far": (ALL, options(ahead=MAX_ROWS + 1)),
        "cap-negative": (ALL, options(softcap=np.float32(-1))),
        "cap-nan": (ALL, options(softcap=np.float32(np.nan))),
        "cap-infinite": (ALL, options(softcap=np.float32(np.inf))),
        "latent-whole": (LATENT, options(latent=7)),
        "latent-negative": (LATENT, options(latent=-1)),
        "latent-with-values": (LATENT, put(VQ, int8s(15, 2, 5))),
        "latent-with-scales": (LATENT, put(VS, scales(15, 2))),
        "latent-one-scale": (LATENT, put(KS, scales(15, 2))),
        "no-values": (ALL, put(VQ, None)),
        "no-value-scales": (ALL, put(VS, None)),
        "no-columns": (ALL, put(VQ, int8s(15, 2, 0))),
        "three-limbs": (ALL, put(KQ, int8s(15, 2, 3, 7))),
        "values-three-limbs": (ALL, put(VQ, int8s(15, 2, 3, 7))),
        "value-heads": (ALL, put(VQ, int8s(15, 1, 2, 5))),
        "two-scales": (ALL, put(KS, scales(15, 2, 2))),
    }
    for name, (f, change) in wrong.items():
        yield Case("attention", f"wrong-options-{name}", lambda f=f, c=change: _with(f, c), InputError)


def _heads() -> Iterator[Case]:
    for (n, heads, dh, latent), limbs in itertools.product(
        ((0, 2, 3, 0), (1, 1, 1, 0), (3, 3, 7, 0), (2, 2, 70, 64), (3, 1, 5, 4), (1, 3, 2, 1)), (1, 2)
    ):
        for kind in KINDS:
            yield Case(
                "quantise_heads",
                f"options-{kind}-{n}x{heads}x{dh}-{limbs}-{latent}",
                lambda a=(kind, n, heads * dh), h=heads, b=limbs, c=latent: (floats(*a), h, b, c),
            )
    for at in (0, 4):
        spoil = lambda at=at: (spoilt((2, 5), (1, at), np.inf), 1, 2, 3)  # noqa: E731
        yield Case("quantise_heads", f"options-infinite-{at}", spoil, NonFiniteError)
    for name, rest in {"limbs": (2, 3, 0), "whole": (2, 1, 4), "negative": (2, 1, -1)}.items():
        wrong = lambda r=rest: (floats("normal", 2, 8), *r)  # noqa: E731
        yield Case("quantise_heads", f"wrong-options-{name}", wrong, InputError)
    for n, heads, kv_heads, dh, r in ((0, 2, 1, 4, 2), (1, 9, 3, 64, 32), (3, 4, 2, 7, 3)):
        for kind in ("normal", "mixed", "halves"):
            yield Case(
                "heads",
                f"two-limbs-{kind}-{n}x{heads}+{kv_heads}x{dh}-{r}",
                lambda n=n, h=heads, g=kv_heads, d=dh, r=r, k=kind: (
                    *(floats(k, n, (h + 2 * g) * d), floats("normal", n, r), floats("mixed", n, r)),
                    *(h, g, False, 2),
                ),
            )
    none = lambda: (floats("normal", 2, 8), *[floats("normal", 2, 1)] * 2, 2, 1, False, 0)  # noqa: E731
    yield Case("heads", "wrong-options-limbs", none, InputError)
    for (n, heads, dh, r, start), interleaved in itertools.product(
        ((0, 2, 5, 2, 1), (1, 1, 3, 1, 1), (3, 3, 9, 2, 4), (2, 2, 70, 33, 3), (2, 1, 8, 0, 8)), (False, True)
    ):
        for kind in ("normal", "mixed", "unbounded"):
            yield Case(
                "rope",
                f"from-{kind}-{n}x{heads}x{dh}-{r}-{start}-{interleaved}",
                lambda n=n, h=heads, d=dh, r=r, a=start, i=interleaved, k=kind: (
                    *(floats(k, n, h * d), floats("normal", n, r), floats("mixed", n, r)),
                    *(h, i, a),
                ),
            )
    for name, start in {"beyond": 3, "negative": -1}.items():
        turned = lambda a=start: (  # noqa: E731
            *(floats("normal", 2, 8), floats("normal", 2, 1), floats("normal", 2, 1)),
            *(2, False, a),
        )
        yield Case("rope", f"wrong-from-{name}", turned, InputError)
