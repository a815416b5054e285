"""Runs everything that needs a real GPU in eight minutes, most important first: ``make gpu-day``.

``python -m benchmarks.gpu.day`` runs the steps of :mod:`.plan`, each in a process of its own with a time
limit of its own, so that a step that hangs or crashes affects no other. ``DIR/findings.jsonl`` gets every
finding at once, ``DIR/results.json`` states after every step how each ended, ``DIR/log.txt`` holds all
output. Steps that succeeded in an earlier run of the same sources are not repeated, so run the command until
all have run.
"""
