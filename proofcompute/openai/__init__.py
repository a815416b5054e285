"""Bind bodies of OpenAI's interface to requests, and responses to receipts (docs/spec/openai.md).

Everything here is pure: no network, no clock, no randomness. Node, gateway, client and auditor share it,
since each of them must find the same requests in the same body.
"""

from __future__ import annotations

from proofcompute.encoding.strict_json import Json, read_json
from proofcompute.openai.answers import (
    FINISH_REASONS,
    Reply,
    Usage,
    completion_id,
    error_object,
    error_of,
    fingerprint,
    model_object,
    models_object,
)
from proofcompute.openai.call import Call, call_of, request_of
from proofcompute.openai.checking import check_completion, proofs_of
from proofcompute.openai.embedding import (
    EmbeddingCall,
    check_embeddings,
    embedding_call_of,
    embeddings_object,
)
from proofcompute.openai.errors import ParameterError, UnsupportedParameterError
from proofcompute.openai.parameters import Endpoint
from proofcompute.openai.proof import (
    FIELD,
    NONCE_HEADER,
    RECEIPT_HEADER,
    RECEIPT_ID_HEADER,
    ProofField,
    check_proofs,
    decode_proofs,
    encode_proofs,
    nonce_of_header,
)
from proofcompute.openai.sent import read_response
from proofcompute.openai.service import (
    CARD_PATH,
    KEPT_PATH,
    MAX_OPEN_CALL,
    OPEN_PATH,
    TERMS_PATH,
    KeptCall,
    OpenCall,
)
from proofcompute.openai.streaming import StreamCheck

__all__ = [
    "CARD_PATH",
    "FIELD",
    "FINISH_REASONS",
    "KEPT_PATH",
    "MAX_OPEN_CALL",
    "NONCE_HEADER",
    "OPEN_PATH",
    "RECEIPT_HEADER",
    "RECEIPT_ID_HEADER",
    "TERMS_PATH",
    "Call",
    "EmbeddingCall",
    "Endpoint",
    "Json",
    "KeptCall",
    "OpenCall",
    "ParameterError",
    "ProofField",
    "Reply",
    "StreamCheck",
    "UnsupportedParameterError",
    "Usage",
    "call_of",
    "check_completion",
    "check_embeddings",
    "check_proofs",
    "completion_id",
    "decode_proofs",
    "embedding_call_of",
    "embeddings_object",
    "encode_proofs",
    "error_object",
    "error_of",
    "fingerprint",
    "model_object",
    "models_object",
    "nonce_of_header",
    "proofs_of",
    "read_json",
    "read_response",
    "request_of",
]
