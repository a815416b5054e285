"""Define the ledger's tables. Migrations make them; ``tests/ledger`` sees to it that the two agree."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

__all__ = [
    "SCHEMA",
    "answers",
    "equivocations",
    "evidence",
    "heads",
    "jobs",
    "leaves",
    "log",
    "log_nodes",
    "metadata",
    "nodes",
    "quorums",
    "receipts",
    "signatures",
    "statements",
    "terms",
    "verdicts",
]

SCHEMA: Final = "0002"
"""The newest migration."""

# SQLite numbers rows by itself in columns of this type only.
NUMBER: Final = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

nodes = Table(
    "nodes",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("url", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("added", Double, nullable=False),
    Column("seen", Double),
    Column("receipts", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    # what trust is computed from, and what came of it, so that lists of nodes are sorted by the database
    Column("audits", Double, nullable=False),
    Column("detection", Double, nullable=False),
    Column("failed", Double, nullable=False),
    Column("trust", Double, nullable=False),
    Column("low", Double, nullable=False),
    Column("high", Double, nullable=False),
    Index(None, "trust", "key"),
)

terms = Table(
    "terms",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("node", LargeBinary, ForeignKey("nodes.key"), nullable=False),
    Column("seen", Double, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index(None, "node", "seen"),
)

receipts = Table(
    "receipts",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("node", LargeBinary, ForeignKey("nodes.key"), nullable=False),
    Column("request_digest", LargeBinary, nullable=False),
    Column("model_id", LargeBinary, nullable=False),
    Column("terms_digest", LargeBinary, nullable=False),
    Column("made", Double, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("nonce_by", Text, nullable=False),
    Column("level", Text, nullable=False),
    # what the answer took, measured by who asked; empty if nobody did
    Column("seconds", Double),
    # how the answer counts for its node's trust so far; empty before its first audit
    Column("detection", Double),
    Column("failed", Double),
    Index(None, "made", "digest"),
    Index(None, "node", "made", "digest"),
)

# apart from receipts, so that lists read no bodies
answers = Table(
    "answers",
    metadata,
    Column("digest", LargeBinary, ForeignKey("receipts.digest"), primary_key=True),
    Column("request", LargeBinary, nullable=False),
    Column("receipt", LargeBinary, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", NUMBER, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("node", LargeBinary, ForeignKey("nodes.key")),
    Column("receipt", LargeBinary, ForeignKey("receipts.digest")),
    Column("audience", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("added", Double, nullable=False),
    # from when it may be taken: when it is due, or when the lease of whoever has it ends
    Column("free_at", Double, nullable=False),
    Column("done", Boolean, nullable=False),
    Column("lease", LargeBinary),
    Column("owner", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("finished", Double),
    Column("result", Text, nullable=False),
)
Index(
    "ix_jobs_open",
    jobs.c.free_at,
    jobs.c.id,
    sqlite_where=text("done = 0"),
    postgresql_where=text("NOT done"),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("leaf", BigInteger, ForeignKey("leaves.number"), primary_key=True, autoincrement=False),
    Column("receipt", LargeBinary, ForeignKey("receipts.digest"), nullable=False),
    Column("challenge", LargeBinary, nullable=False),
    Column("auditor", LargeBinary, nullable=False),
    Column("node", LargeBinary, ForeignKey("nodes.key"), nullable=False),
    Column("outcome", Text, nullable=False),
    Column("step", Integer, nullable=False),
    Column("check", Text, nullable=False),
    Column("made", Double, nullable=False),
    UniqueConstraint("receipt", "challenge", "auditor"),
    Index(None, "node", "leaf"),
    Index(None, "outcome", "leaf"),
)

equivocations = Table(
    "equivocations",
    metadata,
    Column("leaf", BigInteger, ForeignKey("leaves.number"), primary_key=True, autoincrement=False),
    Column("first", BigInteger, ForeignKey("verdicts.leaf"), nullable=False),
    Column("auditor", LargeBinary, nullable=False),
    Index(None, "first"),
)

quorums = Table(
    "quorums",
    metadata,
    Column("leaf", BigInteger, ForeignKey("leaves.number"), primary_key=True, autoincrement=False),
    Column("receipt", LargeBinary, nullable=False),
    Column("policy", LargeBinary, nullable=False),
    Column("statement", LargeBinary, nullable=False, unique=True),
    Column("outcome", Text, nullable=False),
    Index(None, "receipt"),
)

evidence = Table(
    "evidence",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("receipt", LargeBinary, ForeignKey("receipts.digest"), nullable=False),
    Column("added", Double, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index(None, "receipt"),
)

# what members of a quorum are asked to sign, and what they signed
statements = Table(
    "statements",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("receipt", LargeBinary, ForeignKey("receipts.digest"), nullable=False),
    Column("policy", LargeBinary, nullable=False),
    Column("subject", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),
    UniqueConstraint("policy", "subject"),
)

signatures = Table(
    "signatures",
    metadata,
    Column("statement", LargeBinary, ForeignKey("statements.digest"), primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

# -- the log -----------------------------------------------------------------------------------------------
# one row: who appends holds it until the transaction ends, so that leaves have an order
log = Table(
    "log",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
)

leaves = Table(
    "leaves",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

log_nodes = Table(
    "log_nodes",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
)

heads = Table(
    "heads",
    metadata,
    Column("id", NUMBER, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("made", Double, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index(None, "size"),
)
