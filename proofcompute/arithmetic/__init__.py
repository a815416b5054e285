"""The canonical arithmetic: its definition, the protocol and contracts of backends, the backends, devices."""
