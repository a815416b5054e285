"""Sign verdicts for contracts of Ethereum and its like, write calls of registries, and pay by verdicts."""
