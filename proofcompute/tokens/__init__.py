"""From text to tokens and back, and from messages to a prompt. Runs on the client's side only."""

from proofcompute.tokens.template import Message, Segment, render_chat
from proofcompute.tokens.tokenizer import StreamDecoder, Tokenizer

__all__ = ["Message", "Segment", "StreamDecoder", "Tokenizer", "render_chat"]
