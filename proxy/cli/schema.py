"""``idemproxy schema``: the JSON Schema of the rules file, for editors and CI."""

from __future__ import annotations

import argparse
import json
import sys

from rules.schema import json_schema


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""
    del parser


def run(_: argparse.Namespace) -> int:
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
    return 0
