"""Find the contradiction in an error that a client of OpenAI's interface raises."""

from __future__ import annotations

from proofcompute.errors import VerificationError

__all__ = ["contradiction_in"]


def contradiction_in(error: BaseException) -> VerificationError | None:
    """Return the VerificationError that ``error`` is or was raised for, or None.

    openai's client and LangChain raise it as it is, from openai 3 on; older ones and LiteLLM raise errors of
    their own and keep it as the cause.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop(0)
        if found is None or id(found) in seen:
            continue
        if isinstance(found, VerificationError):
            return found
        seen.add(id(found))
        waiting += [found.__cause__, found.__context__]
    return None
