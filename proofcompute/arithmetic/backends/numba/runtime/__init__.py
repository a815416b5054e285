"""Load and run kernels: the cache, machine code, threads."""
