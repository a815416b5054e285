"""Record decoding steps and repeat them with a crew of threads."""
