"""What Kubernetes, the Prometheus operator and the linters say of k8s/ and the Dockerfile.

Each validator is also shown something wrong, so that one that accepts everything is noticed.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-not-found]
import pytest

from tests.k8s.manifests import (
    CLASSIC,
    K8S,
    MONITORING,
    OVERLAYS,
    ROOT,
    Manifest,
    documents,
    kustomizations,
    of_kind,
    pod_of,
    rendered,
    rendered_text,
    run,
)
from tests.k8s.prometheusrule import WRAPPED, rule_files, wrapped

HERE = Path(__file__).resolve().parent
NEWEST = kubernetes_validate.latest_version()


def versions(first: int) -> list[str]:
    """1.``first`` to the newest that the validator carries."""
    return [f"1.{minor}" for minor in range(first, int(NEWEST.split(".")[1]) + 1)]


def validate(manifest: Manifest, version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("folder", [str(p.relative_to(ROOT)) for p in kustomizations()])
def test_every_folder_renders(folder: str) -> None:
    assert rendered(ROOT / folder)


@pytest.mark.parametrize("version", versions(29))
@pytest.mark.parametrize("folder", [pytest.param(p, id=p.name) for p in OVERLAYS])
def test_overlays_are_valid(folder: Path, version: str) -> None:
    for manifest in rendered(folder):
        validate(manifest, version)


@pytest.mark.parametrize("version", ["1.25", "1.28", *versions(29)])
def test_the_classic_one_is_valid_before_and_after(version: str) -> None:
    for manifest in rendered(CLASSIC):
        validate(manifest, version)


def test_the_validator_refuses_an_unknown_field_and_a_native_sidecar_before_its_time() -> None:
    deployment = of_kind(rendered(OVERLAYS[0]), "Deployment")
    typo = copy.deepcopy(deployment)
    pod_of(typo)["initContainers"][0]["restartPolcy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError, match="restartPolcy"):
        validate(typo, NEWEST)
    with pytest.raises(kubernetes_validate.ValidationError, match="restartPolicy"):
        validate(deployment, "1.27")


def custom_resources(resources: list[Any]) -> tuple[int, str]:
    done = run("node", HERE / "validate.mjs", input=json.dumps(resources), cwd=HERE)
    return done.returncode, done.stdout + done.stderr


def test_custom_resources_fit_the_operators_schemas() -> None:
    code, said = custom_resources(rendered(MONITORING))
    assert code == 0, said
    assert set(said.splitlines()) == {
        "PodMonitor idempotency-proxy",
        "PrometheusRule idempotency-proxy",
    }


def test_the_operators_schemas_refuse_a_named_port_number() -> None:
    monitor = of_kind(rendered(MONITORING), "PodMonitor")
    monitor["spec"]["podMetricsEndpoints"][0]["portNumber"] = "admin"
    code, said = custom_resources([monitor])
    assert code == 1
    assert "portNumber" in said


def test_promtool_accepts_the_rules() -> None:
    files = rule_files()
    assert files
    done = run("promtool", "check", "rules", *files)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_passes_the_tests_of_the_rules() -> None:
    tests = sorted(ROOT.glob("k8s/monitoring/**/*test*.y*ml"))
    assert tests
    done = run("promtool", "test", "rules", *tests)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_refuses_a_broken_rule(tmp_path: Path) -> None:
    broken = tmp_path / "rules.yaml"
    broken.write_text("groups: [{name: g, rules: [{alert: A, expr: 'sum('}]}]")
    assert run("promtool", "check", "rules", broken).returncode != 0


def test_the_prometheus_rule_holds_the_plain_files() -> None:
    assert WRAPPED.read_text() == wrapped(), "run: python tests/k8s/prometheusrule.py"


def test_the_dashboard_config_map_is_the_dashboard() -> None:
    config = of_kind(rendered(MONITORING), "ConfigMap")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    (text,) = config["data"].values()
    assert json.loads(text) == json.loads((MONITORING / "dashboard.json").read_text())


@pytest.mark.parametrize("folder", [OVERLAYS[-1], CLASSIC], ids=["enforce", "classic"])
def test_checkov_finds_nothing_that_is_not_explained(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(rendered_text(folder))
    done = run(
        "checkov", "--config-file", HERE / "checkov.yaml", "--framework", "kubernetes",
        "--directory", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"Passed checks: (\d+)", done.stdout)[0]) > 100


def test_checkov_sees_a_privileged_container(tmp_path: Path) -> None:
    deployment = of_kind(rendered(OVERLAYS[-1]), "Deployment")
    pod_of(deployment)["containers"][0]["securityContext"]["privileged"] = True
    (tmp_path / "all.yaml").write_text(json.dumps(deployment))
    done = run(
        "checkov", "--config-file", HERE / "checkov.yaml", "--framework", "kubernetes",
        "--directory", tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "CKV_K8S_16" in done.stdout


def test_every_skip_of_checkov_is_explained() -> None:
    lines = (HERE / "checkov.yaml").read_text().splitlines()
    skips = [line for line in lines if line.strip().startswith("- CKV")]
    assert skips
    assert all(re.search(r"  # .{25,}", line) for line in skips)


def test_checkov_and_hadolint_accept_the_dockerfile() -> None:
    done = run("hadolint", ROOT / "Dockerfile")
    assert done.returncode == 0, done.stdout
    done = run(
        "checkov", "--config-file", HERE / "checkov.yaml", "--framework", "dockerfile",
        "--file", ROOT / "Dockerfile",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_hadolint_refuses_an_unpinned_install(tmp_path: Path) -> None:
    worse = tmp_path / "Dockerfile"
    worse.write_text((ROOT / "Dockerfile").read_text() + "RUN pip install rich\n")
    done = run("hadolint", worse)
    assert "DL3013" in done.stdout


def test_yamllint_accepts_every_manifest() -> None:
    done = run("yamllint", "--strict", "-c", HERE / "yamllint.yaml", K8S)
    assert done.returncode == 0, done.stdout
    assert documents(OVERLAYS[0].joinpath("kustomization.yaml").read_text())
