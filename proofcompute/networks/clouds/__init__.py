"""Bind receipts into attestations of AWS, Google and Microsoft, and check that one is bound."""
