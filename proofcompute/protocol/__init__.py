"""Define what prover and verifier share: messages, statements, traces, needs, cells, and the stop rule."""
