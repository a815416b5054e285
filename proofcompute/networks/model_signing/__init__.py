"""Sign published files as OpenSSF's model signing does, and check what was signed so."""
