"""Sign verdicts for contracts of Ethereum and its like, and write calls of ERC-8004 registries."""
