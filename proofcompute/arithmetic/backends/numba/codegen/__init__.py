"""How machine code of kernels is made: vectors, emitted loops, entries, targets, signatures."""
