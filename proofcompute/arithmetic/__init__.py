"""The canonical arithmetic: its definition, the protocol of backends, the backends, and devices."""
