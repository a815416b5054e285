"""Sign and check requests between hotkeys of Bittensor, and make weights of what audits found."""
