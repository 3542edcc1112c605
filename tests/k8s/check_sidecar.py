"""Every overlay contains the sidecar, as it must be: a selector that matches nothing is silent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.k8s.manifests import (
    CLASSIC,
    K8S,
    LABEL,
    MODES,
    OVERLAYS,
    ROOT,
    SIDECAR,
    Manifest,
    documents,
    of_kind,
    pod_of,
    rendered,
    run,
    sidecars,
)

WITH_SIDECAR = [pytest.param(path, id=path.name) for path in (*OVERLAYS, CLASSIC)]

OTHER_APPS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: plain, labels: {idempotency-proxy: enabled}}
spec:
  selector: {matchLabels: {app: plain}}
  template:
    metadata: {labels: {app: plain}}
    spec:
      initContainers:
        - {name: migrate, image: migrate}
      containers:
        - {name: web, image: web, ports: [{containerPort: 8080}]}
        - {name: cron, image: cron}
      volumes: [{name: own, emptyDir: {}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: stranger}
spec:
  selector: {matchLabels: {app: stranger}}
  template:
    metadata: {labels: {app: stranger}}
    spec: {containers: [{name: web, image: web}]}
---
apiVersion: v1
kind: Service
metadata: {name: plain, labels: {idempotency-proxy: enabled}}
spec: {selector: {app: plain}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: stranger}
spec: {selector: {app: stranger}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""


def on_other_apps(component: str, tmp_path: Path) -> list[Manifest]:
    """What the component makes of Deployments that it was not written for."""
    (tmp_path / "app.yaml").write_text(OTHER_APPS)
    # kubectl wants a relative path, so the component is reached from the folder by `..`.
    up = "/".join([".."] * (len(tmp_path.resolve().parts) - 1))
    target = f"{up}{K8S / component}"
    (tmp_path / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
        f"resources: [app.yaml]\ncomponents: ['{target}']\n"
    )
    done = run("kubectl", "kustomize", tmp_path)
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


@pytest.mark.parametrize("folder", WITH_SIDECAR)
def test_the_deployment_has_one_sidecar_and_the_service_leads_to_it(folder: Path) -> None:
    manifests = rendered(folder)
    pod = pod_of(of_kind(manifests, "Deployment"))
    assert len(sidecars(pod)) == 1
    assert pod["containers"][0]["name"] == "notifications"
    assert of_kind(manifests, "Service", "notifications")["spec"]["ports"][0]["targetPort"] == 8000


@pytest.mark.parametrize("folder", WITH_SIDECAR)
def test_the_sidecar_is_locked_down(folder: Path) -> None:
    manifests = rendered(folder)
    (sidecar,) = sidecars(pod_of(of_kind(manifests, "Deployment")))
    security = sidecar["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == 65532
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert set(sidecar["resources"]) == {"requests", "limits"}
    token = "/var/run/secrets/kubernetes.io/serviceaccount"
    volume = {m["mountPath"]: m["name"] for m in sidecar["volumeMounts"]}[token]
    volumes = {v["name"]: v for v in pod_of(of_kind(manifests, "Deployment"))["volumes"]}
    assert "emptyDir" in volumes[volume]


@pytest.mark.parametrize("folder", WITH_SIDECAR)
def test_probes_ask_the_admin_port_by_number_and_never_for_redis(folder: Path) -> None:
    (sidecar,) = sidecars(pod_of(of_kind(rendered(folder), "Deployment")))
    probes = {name: sidecar[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness")}
    assert probes["startup"] == probes["readiness"] == {"path": "/readyz", "port": 9000}
    assert sidecar["livenessProbe"]["httpGet"] == {"path": "/livez", "port": 9000}
    assert all("name" not in port for port in sidecar["ports"])


@pytest.mark.parametrize("folder", WITH_SIDECAR)
def test_the_app_drains_the_sidecar_first_and_the_grace_period_covers_it(folder: Path) -> None:
    pod = pod_of(of_kind(rendered(folder), "Deployment"))
    app = pod["containers"][0]
    assert app["lifecycle"]["preStop"]["httpGet"] == {
        "path": "/drain?wait=15s&quiet=4s",
        "port": 9000,
    }
    (sidecar,) = sidecars(pod)
    drain = {e["name"]: e["value"] for e in sidecar["env"]}["IDEMPROXY_DRAIN_TIMEOUT"]
    assert pod["terminationGracePeriodSeconds"] > 15 + int(drain.removesuffix("s"))


@pytest.mark.parametrize("folder", WITH_SIDECAR)
def test_rules_are_a_directory_of_a_config_map_without_suffix(folder: Path) -> None:
    manifests = rendered(folder)
    pod = pod_of(of_kind(manifests, "Deployment"))
    (sidecar,) = sidecars(pod)
    assert not any("subPath" in mount for mount in sidecar["volumeMounts"])
    mounts = {mount["name"]: mount["mountPath"] for mount in sidecar["volumeMounts"]}
    env = {e["name"]: e["value"] for e in sidecar["env"]}
    assert mounts["idempotency-proxy-rules"] == env["IDEMPROXY_RULES"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    name = volumes["idempotency-proxy-rules"]["configMap"]["name"]
    assert name == "idempotency-proxy-rules"
    assert set(of_kind(manifests, "ConfigMap", name)["data"]) == {"rules.yaml"}


def test_native_and_classic_run_the_same_container() -> None:
    (native,) = sidecars(pod_of(of_kind(rendered(OVERLAYS[-1]), "Deployment")))
    (classic,) = sidecars(pod_of(of_kind(rendered(CLASSIC), "Deployment")))
    assert native.pop("restartPolicy") == "Always"
    assert classic.pop("lifecycle")["preStop"]["httpGet"]["path"] == "/drain?wait=15s&quiet=4s"
    assert native == classic


@pytest.mark.parametrize("component", ["component", "component-classic"])
def test_any_labelled_deployment_gets_it_and_no_other(component: str, tmp_path: Path) -> None:
    manifests = on_other_apps(component, tmp_path)
    plain = pod_of(of_kind(manifests, "Deployment", "plain"))
    assert len(sidecars(plain)) == 1
    assert "migrate" in [container["name"] for container in plain["initContainers"]]
    assert [c["name"] for c in plain["containers"]][:2] == ["web", "cron"]
    assert "own" in [volume["name"] for volume in plain["volumes"]]
    assert "lifecycle" in plain["containers"][0]
    assert of_kind(manifests, "Service", "plain")["spec"]["ports"][0]["targetPort"] == 8000
    before = {(d["kind"], d["metadata"]["name"]): d for d in documents(OTHER_APPS)}
    for kind in ("Deployment", "Service"):
        assert of_kind(manifests, kind, "stranger") == before[kind, "stranger"]


def test_overlays_differ_only_in_the_rules() -> None:
    def without_rules(folder: Path) -> list[Manifest]:
        manifests = rendered(folder)
        of_kind(manifests, "ConfigMap", "idempotency-proxy-rules").pop("data")
        return manifests

    first, *others = map(without_rules, OVERLAYS)
    assert all(other == first for other in others)


def test_the_rules_differ_only_in_mode_and_rollout() -> None:
    rules: dict[str, Any] = {}
    modes = {}
    for mode in MODES:
        text = (K8S / "example" / "rules" / mode / "rules.yaml").read_text()
        rules[mode] = YAML(typ="safe").load(text)
        (rule,) = rules[mode]["rules"]
        modes[mode] = (rule.pop("mode"), rule.pop("rollout", None))
    shipped = YAML(typ="safe").load(ROOT / "examples" / "notifications" / "rules.yaml")
    shipped["rules"][0].pop("mode")
    assert all(found == shipped for found in rules.values())
    assert modes == {
        "off": ("off", None),
        "shadow": ("shadow", None),
        "canary": ("enforce", {"percent": 5, "rest": "shadow"}),
        "enforce": ("enforce", None),
    }


def test_selectors_and_policies_meet_the_pods_they_mean() -> None:
    manifests = rendered(OVERLAYS[-1])
    app = of_kind(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    redis = of_kind(manifests, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert app.items() >= LABEL.items()
    monitor = of_kind(documents((K8S / "monitoring" / "podmonitor.yaml").read_text()), "PodMonitor")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= app.items()
    budget = of_kind(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    assert budget.items() <= app.items()
    for name, labels in (("notifications", app), ("redis", redis)):
        policy = of_kind(manifests, "NetworkPolicy", name)["spec"]
        assert policy["podSelector"]["matchLabels"].items() <= labels.items()
        service = of_kind(manifests, "Service", name)["spec"]
        assert service["selector"].items() <= labels.items()
    (redis_from,) = of_kind(manifests, "NetworkPolicy", "redis")["spec"]["ingress"]
    (peer,) = redis_from["from"]
    assert peer["podSelector"]["matchLabels"].items() <= app.items()


def test_the_admin_port_is_open_to_monitoring_alone() -> None:
    policy = of_kind(rendered(OVERLAYS[-1]), "NetworkPolicy", "notifications")["spec"]
    by_port = {rule["ports"][0]["port"]: rule.get("from") for rule in policy["ingress"]}
    assert by_port[8000] is None
    assert by_port[9000] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    ]
    assert set(by_port) == {8000, 9000}


def test_redis_and_the_proxy_agree_on_the_credentials() -> None:
    secrets = K8S / "example" / "platform" / "secrets"
    password = (secrets / "store-password").read_text()
    assert f" on >{password} " in (secrets / "users.acl").read_text()
    settings = of_kind_starting(rendered(OVERLAYS[-1]), "idempotency-proxy-settings")["data"]
    assert settings["IDEMPROXY_STORE_USERNAME"] in (secrets / "users.acl").read_text()
    held = of_kind_starting(rendered(OVERLAYS[-1]), "idempotency-proxy-secrets")["data"]
    for name in ("STORE_PASSWORD_FILE", "KEY_SECRET_FILE"):
        folder, _, file = settings[f"IDEMPROXY_{name}"].rpartition("/")
        assert folder == "/etc/idemproxy/secrets"
        assert file in held


def of_kind_starting(manifests: list[Manifest], prefix: str) -> Manifest:
    (found,) = [m for m in manifests if m["metadata"]["name"].startswith(prefix)]
    return found


def test_the_service_of_the_example_listens_on_loopback_behind_the_sidecar() -> None:
    pod = pod_of(of_kind(rendered(OVERLAYS[-1]), "Deployment"))
    app = pod["containers"][0]
    assert app["args"][:2] == ["--host", "127.0.0.1"]
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert app[name]["httpGet"]["port"] == 8000
    assert app["name"] != SIDECAR
