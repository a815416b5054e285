"""``python -m proofcompute``: the command line."""

from __future__ import annotations

import sys

from proofcompute.cli import main

sys.exit(main())
