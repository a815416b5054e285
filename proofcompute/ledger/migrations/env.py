"""Run by alembic: carry out migrations on the connection that :mod:`proofcompute.ledger.migrating` gives."""

from __future__ import annotations

from alembic import context

from proofcompute.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
