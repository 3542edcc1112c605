"""``idemproxy version``."""

from __future__ import annotations

import argparse
import platform
import sys

from proxy.build import version


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""
    del parser


def run(_: argparse.Namespace) -> int:
    sys.stdout.write(f"idemproxy {version()} (Python {platform.python_version()})\n")
    return 0
