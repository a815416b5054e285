"""The commands of each network's adapter."""
