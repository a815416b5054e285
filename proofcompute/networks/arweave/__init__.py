"""Keep evidence, receipts and keys on Arweave, in signed data items and bundles of them (ANS-104)."""
