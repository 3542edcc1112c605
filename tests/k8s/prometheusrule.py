"""Wraps the plain Prometheus rule files of k8s/monitoring into one PrometheusRule.

The plain files are what promtool reads and what a Prometheus without the operator loads; the
wrapped one is what the operator reads. A check holds them together.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

FOLDER = Path(__file__).resolve().parents[2] / "k8s" / "monitoring"
WRAPPED = FOLDER / "prometheusrule.yaml"
HEAD = "# Made from the rule files beside it: python tests/k8s/prometheusrule.py\n"


def rule_files() -> list[Path]:
    """The plain rule files: those whose one top-level field is ``groups``."""
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        document = YAML(typ="safe").load(path)
        if isinstance(document, dict) and set(document) == {"groups"}:
            found.append(path)
    return found


def wrapped() -> str:
    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    groups: list[Any] = []
    for path in rule_files():
        groups.extend(YAML(typ="safe").load(path)["groups"])
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "idempotency-proxy",
            "labels": {"app.kubernetes.io/name": "idempotency-proxy"},
        },
        "spec": {"groups": groups},
    }
    out = io.StringIO()
    yaml.dump(document, out)
    return HEAD + out.getvalue()


if __name__ == "__main__":
    WRAPPED.write_text(wrapped())
