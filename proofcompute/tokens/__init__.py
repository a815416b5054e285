"""From text to tokens and back, and from messages to a prompt. Runs on the client's side only."""

from proofcompute.tokens.prompt import RequestOptions, chat_request, check_text, text_request
from proofcompute.tokens.template import Message, Segment, render_chat
from proofcompute.tokens.tokenizer import StreamDecoder, Tokenizer

__all__ = [
    "Message",
    "RequestOptions",
    "Segment",
    "StreamDecoder",
    "Tokenizer",
    "chat_request",
    "check_text",
    "render_chat",
    "text_request",
]
