"""The rules file as JSON Schema (draft 2020-12). Law: made from the table that the loader reads by.

It says as much as JSON Schema can: relations between fields, and names that must be unique, are
checked by the loader alone.
"""

from __future__ import annotations

from typing import Any

from rules.fields import FILE
from rules.load_conditions import definitions

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema, as a document of its own."""
    return {
        "$schema": DIALECT,
        "$id": "urn:idemproxy:rules:1",
        "title": "idemproxy rules",
        **FILE.schema,
        "$defs": definitions(),
    }
