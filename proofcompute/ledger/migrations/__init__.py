"""Migrations of the ledger's tables, which alembic runs."""
