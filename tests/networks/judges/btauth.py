"""Reads requests as lines of JSON, and prints what Bittensor's own SDK says about each."""

from __future__ import annotations

import json
import sys

from bittensor import http_auth
from bittensor.intents.weights import normalize

store = http_auth.InMemoryNonceStore()
for line in sys.stdin:
    asked = json.loads(line)
    said: dict[str, object] = {}
    if "weights" in asked:
        said["uids"], said["values"] = normalize(asked["uids"], asked["weights"])
    else:
        try:
            caller = http_auth.verify(
                asked["headers"],
                bytes.fromhex(asked["body"]),
                method=asked["method"],
                path=asked["target"],
                self_hotkey_ss58=asked["me"],
                nonce_store=store,
                now_ns=int(asked["now"]),
            )
            said["hotkey"] = caller.hotkey_ss58
        except http_auth.AuthError as e:
            said["error"] = type(e).__name__
    print(json.dumps(said))
