"""Keep what answers took. Nobody measured those that are there already, so they have no duration."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add an empty column to the receipts."""
    op.add_column("receipts", sa.Column("seconds", sa.Double(), nullable=True))
