"""Generate the machine code of kernels: vectors, emitted loops, entries, targets, signatures."""
