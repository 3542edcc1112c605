"""``idemproxy version``."""

from __future__ import annotations

import argparse
import platform
import sys

from proxy import __version__


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""
    del parser


def run(_: argparse.Namespace) -> int:
    sys.stdout.write(f"idemproxy {__version__} (Python {platform.python_version()})\n")
    return 0
