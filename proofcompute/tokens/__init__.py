"""Converts text to tokens and back, and messages to prompts. This runs on the client's side only."""

from proofcompute.errors.extras import lacking

try:
    from proofcompute.tokens.prompt import Prompter, RequestOptions, chat_request, check_text, text_request
    from proofcompute.tokens.template import ChatTemplate, Message, PromptText, render_chat
    from proofcompute.tokens.tokenizer import Tokenizer
except ModuleNotFoundError as e:
    raise lacking(e, "text as tokens") from e

__all__ = [
    "ChatTemplate",
    "Message",
    "PromptText",
    "Prompter",
    "RequestOptions",
    "Tokenizer",
    "chat_request",
    "check_text",
    "render_chat",
    "text_request",
]
