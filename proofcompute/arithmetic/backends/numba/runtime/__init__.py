"""How kernels are loaded and run: cache, machine code, threads."""
