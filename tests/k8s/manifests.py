"""What the checks have in common: the folders of k8s/, rendered as a user renders them."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
MODES = ("off", "shadow", "canary", "enforce")
OVERLAYS = tuple(K8S / "example" / "overlays" / mode for mode in MODES)
CLASSIC = K8S / "example" / "classic"
MONITORING = K8S / "monitoring"
SIDECAR = "idempotency-proxy"
LABEL = {"idempotency-proxy": "enabled"}

Manifest = dict[str, Any]


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command's result, whatever its exit code; a tool that is missing is named."""
    program = str(command[0])
    beside = Path(sys.executable).parent  # the environment's own tools come first
    found = shutil.which(program, path=f"{beside}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        raise SystemExit(f"{program} is not on PATH: `make k8s` installs what it can")
    words = [found, *(str(word) for word in command[1:])]
    return subprocess.run(words, capture_output=True, text=True, check=False, **options)


def documents(text: str) -> list[Manifest]:
    return [found for found in YAML(typ="safe").load_all(text) if found]


@functools.cache
def rendered_text(folder: Path) -> str:
    done = run("kubectl", "kustomize", folder)
    assert done.returncode == 0, f"{folder.relative_to(ROOT)}: {done.stderr}"
    return done.stdout


def rendered(folder: Path) -> list[Manifest]:
    return documents(rendered_text(folder))


def kustomizations() -> Iterator[Path]:
    """Every folder under k8s/ that renders by itself (components do not)."""
    for path in sorted(K8S.rglob("kustomization.yaml")):
        if re.search(r"^kind: Kustomization$", path.read_text(), re.MULTILINE):
            yield path.parent


def of_kind(manifests: list[Manifest], kind: str, name: str | None = None) -> Manifest:
    """The one manifest of that kind (and name)."""
    found = [
        manifest
        for manifest in manifests
        if manifest["kind"] == kind and name in (None, manifest["metadata"]["name"])
    ]
    assert len(found) == 1, f"{kind} {name or ''}: {len(found)} found"
    return found[0]


def pod_of(manifest: Manifest) -> Manifest:
    spec: Manifest = manifest["spec"]["template"]["spec"]
    return spec


def sidecars(pod: Manifest) -> list[Manifest]:
    containers = pod.get("initContainers", []) + pod["containers"]
    return [container for container in containers if container["name"] == SIDECAR]
