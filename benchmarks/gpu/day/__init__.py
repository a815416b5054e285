"""Everything that needs a real GPU, in one run of eight minutes, most important first: ``make gpu-day``.

``python -m benchmarks.gpu.day`` runs the steps of :mod:`.plan`, each in a process of its own with a limit of
its own, so that one that hangs or crashes costs only itself. ``DIR/findings.jsonl`` gets every finding as it
comes, ``DIR/results.json`` says after every step how each ended, ``DIR/log.txt`` holds all output. Steps that
an earlier run of the same sources ended well are left out, so the command is repeated until all have run.
"""
