"""Hold the kernels that Numba compiles: the arithmetic itself, one module per group of operations."""
