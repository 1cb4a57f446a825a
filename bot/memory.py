"""Give the memory that a start needed for a moment back to the system."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Return freed memory to the system; does nothing where the C library cannot.

    Compiling the triage vocabulary takes some ten MiB for a second, which glibc would keep.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc; musl has none
        if trim is not None:
            trim(0)
