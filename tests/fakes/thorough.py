"""How much the property tests try: a little by default, much with ``OCULICHAT_THOROUGH=1``."""

from __future__ import annotations

import os

IS_THOROUGH = bool(os.environ.get("OCULICHAT_THOROUGH"))


def examples(usual: int, thorough: int) -> int:
    """Return the number of Hypothesis examples for this run."""
    return thorough if IS_THOROUGH else usual
