"""Named limits, checked before hashing or allocating (sizes in bytes unless the name says otherwise)."""

from __future__ import annotations

from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

MAX_DEPTH: Final = 16
"""Nesting depth of any CBOR item."""
MAX_ITEMS: Final = 1 << 20
"""Elements of all arrays of one CBOR item together."""
MAX_ROWS: Final = 1 << 20
"""Rows (positions or samples) of one request."""
MAX_CONTEXT: Final = 1 << 20
"""Context length that an importer accepts."""
MAX_CELL_ROWS: Final = 512
"""Rows of one cell, so that a streaming verifier's memory is flat."""
MAX_CELLS: Final = 1 << 18
"""Cells of one challenge."""
MAX_COLUMNS: Final = 8
"""Freivalds columns of a key or a public proof."""
MAX_REQUEST: Final = 64 * MIB
"""An encoded request."""
MAX_RECEIPT: Final = 64 * MIB
"""An encoded receipt, its outputs included."""
MAX_TERMS: Final = 1 * KIB
"""Encoded terms of a node."""
MAX_TERMS_PROOFS: Final = 16
"""Public ids in a node's terms."""
MAX_PIPELINE: Final = 8 * KIB
"""An encoded pipeline."""
MAX_BEACON: Final = 1 * KIB
"""An encoded beacon, or the statement that was made before its round."""
MAX_ROUND: Final = 16 * KIB
"""What a beacon's service says of a round, in JSON."""
MAX_POLICY: Final = 1 * MIB
"""A quorum policy, in JSON or encoded."""
MAX_SIGNERS: Final = 1 << 10
"""Keys of a quorum policy."""
MAX_VERDICT: Final = 16 * KIB
"""An encoded verdict, of one auditor or of a quorum."""
MAX_CHALLENGE: Final = 16 * MIB
"""An encoded challenge."""
MAX_AUDIT_POLICY: Final = 1 * KIB
"""An encoded audit policy."""
MAX_EVIDENCE: Final = MAX_REQUEST + MAX_RECEIPT + MAX_CHALLENGE + MAX_TERMS + 4 * KIB
"""The first frame of a bundle of evidence: everything but the opening."""
MAX_EVIDENCE_OPENING: Final = 1024 * GIB
"""An opening in a bundle of evidence. It is read in pieces; only disks must have room for it."""
MAX_OPENING_PART: Final = 256 * MIB
"""One frame of an opening: the roots, rows of a long prefix, or the part of a cell."""
MAX_OPENING_PIECE: Final = 16 * MIB
"""Rows of one group in one frame, unless a single row has more: longer ones travel in several frames."""
MAX_CELL_OPENING: Final = 4 * GIB
"""All frames of one cell of an opening together. No program has a cell of one row that opens more."""
MAX_CELL_MEMORY: Final = 4 * GIB
"""Memory that the rows of one cell may use while their segment runs
(:mod:`proofcompute.program.liveness`)."""
MAX_KEY: Final = 1 * GIB
"""A verifier's key, the log of its attempts apart."""
MAX_ATTEMPTS: Final = 1 << 20
"""Attempts under one key. Each is a record of its log; together they cost 20 bits of soundness."""
MAX_PROGRAM: Final = 64 * MIB
"""An encoded program."""
MAX_SEGMENTS: Final = 1 << 12
"""Segments of a program."""
MAX_OPERATIONS: Final = 1 << 16
"""Operations of a program."""
MAX_WEIGHTS: Final = 1 << 16
"""Weight tensors of a program."""
MAX_NAME: Final = 256
"""A name of a tensor, weight or segment, in bytes of UTF-8."""
MAX_WIDTH: Final = 1 << 24
"""Elements of one row of one tensor."""
MAX_RANK: Final = 8
"""Axes of one row of one tensor."""
MAX_CONSTANTS: Final = 512 * MIB
"""Constants of a program together. Every key and every verifier holds them, and they leave half of a key of
MAX_KEY bytes to all else that is in it."""
MAX_SEGMENT_WORK: Final = 1 << 34
"""Elements that the operations of a segment make for one row; those of a loop count each time."""
MAX_SEGMENT_PRODUCTS: Final = 1 << 38
"""Multiplications of int8 numbers in the products of a segment for one row."""
MAX_OPERANDS: Final = 1 << 12
"""Inputs of one operation."""
MAX_PRODUCTS: Final = 1 << 16
"""Products of a program for one row; those of a loop count each time."""
MAX_PAIRS: Final = 1 << 10
"""Pairs of elements that a rotary position embedding turns in each head; tables of 512 rows are kept."""
MAX_LOOPED: Final = 1 << 20
"""Operations that all loops of a program run for one row."""
MAX_SCAN: Final = 1 << 16
"""Operations that a loop runs for one row: its steps times the operations of its body."""
MAX_VOCABULARY: Final = 1 << 20
"""Tokens of a vocabulary."""
MAX_TOKEN: Final = 1 << 10
"""Bytes of one token of a vocabulary."""
MAX_TOKENIZER: Final = 64 * MIB
"""An encoded tokenizer."""
MAX_TEMPLATE: Final = 1 * MIB
"""A chat template, and the text that it renders to."""
MAX_CARD: Final = 256 * MIB
"""An encoded model card."""
MAX_TEXT: Final = 16 * MIB
"""A prompt."""
MAX_CHOICES: Final = 128
"""Alternative answers (choices) that can be requested for one question."""
MAX_STOPS: Final = 16
"""Stop strings of one request."""
MAX_STOP: Final = 256
"""One stop string, in bytes of UTF-8."""
MAX_ACCUMULATOR: Final = 1 << 30
"""Every product accumulator is smaller than this in absolute value, which makes the lift unique."""
MAX_CONTRACTION: Final = 1 << 15
"""Products summed in one int32 accumulator; a longer contraction is split into parts."""
MAX_PLANES: Final = 1 << 17
"""Limbs of weight matrices, each expert's own, that a public key has codes of."""
MAX_CODE_ROWS: Final = 1 << 24
"""Rows of weights in one code of a public key."""
MAX_CODE_POSITIONS: Final = 1 << 22
"""Positions of one code of a public key; each has a digest of 32 bytes, which the publisher keeps."""
MAX_TABLE: Final = 24
"""Rounds of the sumcheck of a public proof, whose prover holds two tables of 2^rounds elements."""
MAX_POSITIONS: Final = 1 << 10
"""Positions of each code that a public proof opens."""
MAX_PROOF_REQUESTS: Final = 1 << 12
"""Requests of one public proof."""
