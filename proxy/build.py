"""Which build this is: pure Python, or with its hot path compiled (``setup.py``)."""

from __future__ import annotations

import importlib.util
from importlib.machinery import EXTENSION_SUFFIXES
from typing import Final

from proxy import __version__

_COMPILED: Final = "proxy.flow"
"""Of the modules that are compiled together or not at all."""


def is_compiled() -> bool:
    found = importlib.util.find_spec(_COMPILED)
    return found is not None and (found.origin or "").endswith(tuple(EXTENSION_SUFFIXES))


def version() -> str:
    return f"{__version__} (compiled)" if is_compiled() else __version__
