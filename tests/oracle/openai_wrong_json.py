"""Wrong JSON: what is refused before any parameter is looked at.

Imports nothing from proofcompute.
"""

from __future__ import annotations

from oracle.openai_binding import dumped
from oracle.openai_bodies import CHAT

FORMAT, LIMIT = "FormatError", "LimitError"


def texts_of_json() -> list[tuple[str, list[tuple[bytes, int]], str]]:
    head, tail = dumped(CHAT)[:-1] + b',"user":', b"}"

    def user(value: bytes) -> list[tuple[bytes, int]]:
        return [(head + value + tail, 1)]

    right = dumped(CHAT)
    cases: list[tuple[str, list[tuple[bytes, int]], str]] = [
        ("empty", [(b"", 1)], FORMAT),
        ("white space", [(b" \n", 1)], FORMAT),
        ("cut off", [(right[:-1], 1)], FORMAT),
        ("something behind", [(right + b"x", 1)], FORMAT),
        ("two objects", [(right + right, 1)], FORMAT),
        ("byte order mark", [(b"\xef\xbb\xbf" + right, 1)], FORMAT),
        ("UTF-16", [(right.decode().encode("utf-16"), 1)], FORMAT),
        ("not UTF-8", user(b'"\xff"'), FORMAT),
        ("a surrogate in UTF-8", user(b'"\xed\xa0\x80"'), FORMAT),
        ("overlong", user(b'"\xc0\xaf"'), FORMAT),
        ("a lone high surrogate", user(b'"\\ud800"'), FORMAT),
        ("a lone low surrogate", user(b'"\\uDFFF"'), FORMAT),
        ("surrogates in the wrong order", user(b'"\\udc00\\ud800"'), FORMAT),
        ("a lone surrogate in a key", [(right[:-1] + b',"metadata":{"\\ud800":"x"}}', 1)], FORMAT),
        ("a lone surrogate deep", [(right[:-1] + b',"metadata":{"a":[["\\udbff"]]}}', 1)], FORMAT),
        ("top level an array", [(b"[" + right + b"]", 1)], FORMAT),
        ("top level null", [(b"null", 1)], FORMAT),
        ("top level a text", [(b'"x"', 1)], FORMAT),
        ("top level a number", [(b"1", 1)], FORMAT),
        ("a key twice", [(right[:-1] + b',"model":"chat"}', 1)], FORMAT),
        ("a key twice by an escape", [(right[:-1] + b',"m\\u006fdel":"chat"}', 1)], FORMAT),
        ("a key twice inside", [(right[:-1] + b',"metadata":{"a":"b","a":"b"}}', 1)], FORMAT),
        ("NaN", user(b"NaN"), FORMAT),
        ("Infinity", user(b"Infinity"), FORMAT),
        ("-Infinity", user(b"-Infinity"), FORMAT),
        ("1e400", user(b"1e400"), FORMAT),
        ("-1e400", user(b"-1e400"), FORMAT),
        ("2^63", user(b"9223372036854775808"), FORMAT),
        ("-2^63 - 1", user(b"-9223372036854775809"), FORMAT),
        ("a million digits", [(head, 1), (b"9", 1_000_000), (tail, 1)], LIMIT),
        ("a million digits behind the point", [(head + b"0.", 1), (b"3", 1_000_000), (tail, 1)], LIMIT),
        ("an exponent of a million digits", [(head + b"1e", 1), (b"0", 1_000_000), (b"1" + tail, 1)], LIMIT),
        ("a comment", [(right[:-1] + b"/**/}", 1)], FORMAT),
        ("a comma at the end", [(right[:-1] + b",}", 1)], FORMAT),
        ("single quotes", [(b"{'model':'chat'}", 1)], FORMAT),
        ("a key without quotes", [(b'{model:"chat"}', 1)], FORMAT),
        ("a leading zero", user(b"01"), FORMAT),
        ("a plus sign", user(b"+1"), FORMAT),
        ("a point without digits", user(b"1."), FORMAT),
        ("hexadecimal", user(b"0x1"), FORMAT),
        ("a line feed in a text", user(b'"\n"'), FORMAT),
        ("a NUL in a text", user(b'"\x00"'), FORMAT),
        ("an escape that is none", user(b'"\\x41"'), FORMAT),
        ("a text without an end", user(b'"x'), FORMAT),
        ("True", user(b"True"), FORMAT),
        ("33 arrays deep", [(head, 1), (b"[", 32), (b"]", 32), (tail, 1)], LIMIT),
        ("a million arrays deep", [(head, 1), (b"[", 1_000_000)], LIMIT),
        ("a million objects deep", [(head, 1), (b'{"a":', 1_000_000)], LIMIT),
        ("a million brackets behind a text without an end", [(head + b'"x', 1), (b"[", 1_000_000)], LIMIT),
        ("brackets after an escaped quote", [(head + b'"\\\\",', 1), (b"[", 40)], LIMIT),
        ("2^20 commas", [(head + b"[0", 1), (b",0", 1 << 20), (b"]" + tail, 1)], LIMIT),
        ("a million empty arrays", [(head + b"[[]", 1), (b",[]", 600_000), (b"]" + tail, 1)], LIMIT),
        ("one byte more than the limit", [(right, 1), (b" ", (1 << 22) + 1 - len(right))], LIMIT),
    ]
    return cases
