"""Run the command line as ``python -m proofcompute``."""

from __future__ import annotations

import sys

from proofcompute.cli import main

sys.exit(main())
