"""Where real videos, official lists and public weights lie, on machines that have them."""

import os
from pathlib import Path

REFERENCE = Path(os.environ.get("DTCM_REFERENCE", Path(__file__).parents[3] / "shared"))
