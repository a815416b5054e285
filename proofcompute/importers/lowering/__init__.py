"""Lowers graphs of operations, whatever their format, into programs."""
