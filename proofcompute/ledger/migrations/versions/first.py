"""Make the tables of the first version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make all tables, and the row that orders the log."""
    op.create_table(
        "heads",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("made", sa.Double(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_heads")),
    )
    op.create_index(op.f("ix_heads_size"), "heads", ["size"], unique=False)
    op.create_table(
        "leaves",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_leaves")),
    )
    op.create_table(
        "log",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_log")),
    )
    op.create_table(
        "log_nodes",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "number", name=op.f("pk_log_nodes")),
    )
    op.create_table(
        "nodes",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("added", sa.Double(), nullable=False),
        sa.Column("seen", sa.Double(), nullable=True),
        sa.Column("receipts", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("audits", sa.Double(), nullable=False),
        sa.Column("detection", sa.Double(), nullable=False),
        sa.Column("failed", sa.Double(), nullable=False),
        sa.Column("trust", sa.Double(), nullable=False),
        sa.Column("low", sa.Double(), nullable=False),
        sa.Column("high", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_nodes")),
    )
    op.create_index(op.f("ix_nodes_trust_key"), "nodes", ["trust", "key"], unique=False)
    op.create_table(
        "quorums",
        sa.Column("leaf", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("receipt", sa.LargeBinary(), nullable=False),
        sa.Column("policy", sa.LargeBinary(), nullable=False),
        sa.Column("statement", sa.LargeBinary(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["leaf"], ["leaves.number"], name=op.f("fk_quorums_leaf")),
        sa.PrimaryKeyConstraint("leaf", name=op.f("pk_quorums")),
        sa.UniqueConstraint("statement", name=op.f("uq_quorums_statement")),
    )
    op.create_index(op.f("ix_quorums_receipt"), "quorums", ["receipt"], unique=False)
    op.create_table(
        "receipts",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("node", sa.LargeBinary(), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(), nullable=False),
        sa.Column("model_id", sa.LargeBinary(), nullable=False),
        sa.Column("terms_digest", sa.LargeBinary(), nullable=False),
        sa.Column("made", sa.Double(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("nonce_by", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("detection", sa.Double(), nullable=True),
        sa.Column("failed", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["node"], ["nodes.key"], name=op.f("fk_receipts_node")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_receipts")),
    )
    op.create_index(op.f("ix_receipts_made_digest"), "receipts", ["made", "digest"], unique=False)
    op.create_index(
        op.f("ix_receipts_node_made_digest"), "receipts", ["node", "made", "digest"], unique=False
    )
    op.create_table(
        "terms",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("node", sa.LargeBinary(), nullable=False),
        sa.Column("seen", sa.Double(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["node"], ["nodes.key"], name=op.f("fk_terms_node")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_terms")),
    )
    op.create_index(op.f("ix_terms_node_seen"), "terms", ["node", "seen"], unique=False)
    op.create_table(
        "answers",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("receipt", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["digest"], ["receipts.digest"], name=op.f("fk_answers_digest")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_answers")),
    )
    op.create_table(
        "evidence",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("receipt", sa.LargeBinary(), nullable=False),
        sa.Column("added", sa.Double(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["receipt"], ["receipts.digest"], name=op.f("fk_evidence_receipt")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_evidence")),
    )
    op.create_index(op.f("ix_evidence_receipt"), "evidence", ["receipt"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("node", sa.LargeBinary(), nullable=True),
        sa.Column("receipt", sa.LargeBinary(), nullable=True),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("added", sa.Double(), nullable=False),
        sa.Column("free_at", sa.Double(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.Column("lease", sa.LargeBinary(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("finished", sa.Double(), nullable=True),
        sa.Column("result", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["node"], ["nodes.key"], name=op.f("fk_jobs_node")),
        sa.ForeignKeyConstraint(["receipt"], ["receipts.digest"], name=op.f("fk_jobs_receipt")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("name", name=op.f("uq_jobs_name")),
    )
    op.create_index(
        "ix_jobs_open",
        "jobs",
        ["free_at", "id"],
        unique=False,
        sqlite_where=sa.text("done = 0"),
        postgresql_where=sa.text("NOT done"),
    )
    op.create_table(
        "statements",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("receipt", sa.LargeBinary(), nullable=False),
        sa.Column("policy", sa.LargeBinary(), nullable=False),
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["receipt"], ["receipts.digest"], name=op.f("fk_statements_receipt")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_statements")),
        sa.UniqueConstraint("policy", "subject", name=op.f("uq_statements_policy_subject")),
    )
    op.create_table(
        "verdicts",
        sa.Column("leaf", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("receipt", sa.LargeBinary(), nullable=False),
        sa.Column("challenge", sa.LargeBinary(), nullable=False),
        sa.Column("auditor", sa.LargeBinary(), nullable=False),
        sa.Column("node", sa.LargeBinary(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("check", sa.Text(), nullable=False),
        sa.Column("made", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["leaf"], ["leaves.number"], name=op.f("fk_verdicts_leaf")),
        sa.ForeignKeyConstraint(["node"], ["nodes.key"], name=op.f("fk_verdicts_node")),
        sa.ForeignKeyConstraint(["receipt"], ["receipts.digest"], name=op.f("fk_verdicts_receipt")),
        sa.PrimaryKeyConstraint("leaf", name=op.f("pk_verdicts")),
        sa.UniqueConstraint(
            "receipt", "challenge", "auditor", name=op.f("uq_verdicts_receipt_challenge_auditor")
        ),
    )
    op.create_index(op.f("ix_verdicts_node_leaf"), "verdicts", ["node", "leaf"], unique=False)
    op.create_index(op.f("ix_verdicts_outcome_leaf"), "verdicts", ["outcome", "leaf"], unique=False)
    op.create_table(
        "equivocations",
        sa.Column("leaf", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("auditor", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["first"], ["verdicts.leaf"], name=op.f("fk_equivocations_first")),
        sa.ForeignKeyConstraint(["leaf"], ["leaves.number"], name=op.f("fk_equivocations_leaf")),
        sa.PrimaryKeyConstraint("leaf", name=op.f("pk_equivocations")),
    )
    op.create_index(op.f("ix_equivocations_first"), "equivocations", ["first"], unique=False)
    op.create_table(
        "signatures",
        sa.Column("statement", sa.LargeBinary(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["statement"], ["statements.digest"], name=op.f("fk_signatures_statement")),
        sa.PrimaryKeyConstraint("statement", "key", name=op.f("pk_signatures")),
    )
    op.execute("INSERT INTO log (id, size) VALUES (1, 0)")
