"""The commands ``network bittensor ...``: requests that a hotkey signs, and weights of miners."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proofcompute.cli.console import Output
from proofcompute.cli.options import Json
from proofcompute.encoding.files import read_limited, read_private
from proofcompute.encoding.strict_json import Json as Value
from proofcompute.encoding.strict_json import read_json
from proofcompute.errors import FormatError, InputError, LimitError

if TYPE_CHECKING:
    from proofcompute.networks.bittensor.weights import Score

__all__ = ["group"]

group = typer.Typer(
    help="Score miners of a subnet by audits, and sign requests to them.", rich_markup_mode=None
)

MAX_SCORES = 1 << 24
"""The most bytes of a file of scores that is read."""
_KEYFILE = 1 << 14


@group.command("sign")
def sign(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, ...", show_default=False)],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="Path and query as they are sent.", show_default=False)
    ],
    hotkey: Annotated[
        Path, typer.Option("--hotkey", metavar="FILE", help="Your hotkey, unencrypted.", show_default=False)
    ],
    to: Annotated[
        str, typer.Option("--to", metavar="ADDRESS", help="The hotkey that is asked.", show_default=False)
    ],
    body: Annotated[Path | None, typer.Option("--body", metavar="FILE", help="The body.")] = None,
    json: Json = False,
) -> None:
    """Print the headers that sign a request by your hotkey (btauth/1); they hold for ten seconds."""
    from proofcompute.networks.bittensor.auth import signed_headers
    from proofcompute.networks.bittensor.http import MAX_BODY

    data = b"" if body is None else read_limited(body, MAX_BODY, "body")
    headers = signed_headers(_keypair(hotkey), method=method, target=target, body=data, receiver=to)
    out = Output(json)
    for name, value in headers.items():
        out.say(f"{name}: {value}")
    out.result({"headers": headers, "interface": "theirs"})


def _keypair(path: Path) -> Any:
    from proofcompute.networks.bittensor.auth import core

    data = read_private(path, _KEYFILE, "hotkey")
    try:
        return core().deserialize_keypair_from_keyfile_data(data)
    except (ValueError, core().KeyfileError) as e:
        raise InputError(f"{path} holds no hotkey that is unencrypted: {e}") from e


@group.command("weights")
def weights(
    scores: Annotated[
        Path, typer.Argument(metavar="SCORES", help="What audits found, in JSON.", show_default=False)
    ],
    power: Annotated[float, typer.Option("--power", help="How much trust counts; 0: work alone.")] = 2.0,
    least: Annotated[float, typer.Option("--least", help="Share below which a miner gets none.")] = 0.001,
    json: Json = False,
) -> None:
    """Print the weights of miners, as the chain takes them.

    SCORES is {"miners": [{"uid": 3, "low": 0.93, "high": 1.0, "contradicted": false, "work": 120}, ...]}: the
    ends of the interval of trust, whether a contradiction was found, and an amount of work.
    """
    from proofcompute.networks.bittensor.weights import chain_weights, score_to_weights

    found = score_to_weights(_scores(scores), power=power, least=least)
    uids, values = chain_weights(found)
    out = Output(json)
    for uid, share in sorted(found.items()):
        out.say(f"{uid}: {share:.6f}")
    out.say(f"uids {uids}\nvalues {values}")
    out.result({"uids": uids, "values": values, "interface": "ours"})


def _scores(path: Path) -> dict[int, Score]:
    from proofcompute.networks.bittensor.weights import Score

    try:
        top = read_json(read_limited(path, MAX_SCORES, "scores"), MAX_SCORES)
    except (FormatError, LimitError) as e:
        raise InputError(f"{path} is not JSON as it is read here: {e}") from e
    miners = top.get("miners")
    if set(top) != {"miners"} or not isinstance(miners, list):
        raise InputError(f"{path} holds no list of miners")
    found: dict[int, Score] = {}
    for miner in miners:
        if not isinstance(miner, dict) or not {"uid", "low", "high"} <= set(miner) <= {*_DEFAULTS, "uid"}:
            raise InputError("a miner has uid, low and high, and contradicted and work perhaps")
        uid, said = miner["uid"], {**_DEFAULTS, **miner}
        if type(uid) is not int or type(said["contradicted"]) is not bool:
            raise InputError("a uid is a number, and contradicted is true or false")
        if uid in found:
            raise InputError(f"the miner {uid} is there twice")
        low, high, work = (_number(said[name]) for name in ("low", "high", "work"))
        found[uid] = Score(low, high, said["contradicted"], work)
    return found


_DEFAULTS: dict[str, Any] = {"low": None, "high": None, "contradicted": False, "work": 1}


def _number(value: Value) -> float:
    if type(value) not in (int, float):
        raise InputError("low, high and work are numbers")
    return float(str(value))
