"""Images and pods by podman and runc, as root, without a registry. Law: it knows no HTTP.

Podman 4.3 knows no native sidecars and drives no probes, so pods are started container by
container, in the order in which Kubernetes starts them, by whoever uses this.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BASE = "localhost/idemproxy-base:bookworm"
REDIS = "localhost/idemproxy-redis:bookworm"
IMAGE = "localhost/idempotency-proxy:pod"
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


class PodmanError(Exception):
    """A command of podman, debootstrap or the like failed; the text says which and why."""


def why_not() -> str | None:
    """Why pods cannot be run here; None where they can."""
    if os.geteuid() != 0:
        return "this needs root"
    missing = [name for name in ("podman", "runc", "debootstrap") if not shutil.which(name)]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian's packages of these names)"
    return None


def configure(folder: Path) -> None:
    """Podman's settings for a machine in a container: runc, since crun refuses some cgroup modes;
    no systemd; and limits that root may set without CAP_SYS_RESOURCE."""
    hard = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 20000)
    config = folder / "containers.conf"
    config.write_text(
        "[containers]\n"
        f'default_ulimits = ["nofile=4096:{hard}", "nproc=4096:4096"]\n'
        '[engine]\ncgroup_manager = "cgroupfs"\nruntime = "runc"\nevents_logger = "file"\n'
    )
    os.environ["CONTAINERS_CONF"] = str(config)


def run(*command: str | Path, check: bool = True, timeout: float = 600) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=timeout)
    if check and done.returncode != 0:
        raise PodmanError(f"{' '.join(words[:6])}: {done.stderr[-2000:] or done.stdout[-2000:]}")
    return done.stdout.strip()


def podman(*words: str | Path, check: bool = True, timeout: float = 600) -> str:
    return run("podman", *words, check=check, timeout=timeout)


# ---- images -----------------------------------------------------------------------------------


def have(image: str) -> bool:
    done = subprocess.run(["podman", "image", "exists", image], check=False)
    return done.returncode == 0


def make_base() -> None:
    """A Debian with Python, which stands in for the official image: no registry is needed."""
    if have(BASE):
        return
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        system = Path(folder) / "root"
        wanted = "--include=python3,python3-venv,ca-certificates"
        run("debootstrap", "--variant=minbase", wanted, "bookworm", system)
        shutil.rmtree(system / "var/cache/apt/archives", ignore_errors=True)
        archive = Path(folder) / "root.tar"
        run("tar", "-C", system, "-cf", archive, ".")
        podman("import", archive, BASE)


def make_redis() -> None:
    if have(REDIS):
        return
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        (Path(folder) / "Dockerfile").write_text(
            f"FROM {BASE}\n"
            "RUN apt-get update && apt-get install -y --no-install-recommends redis-server\n"
        )
        build(REDIS, Path(folder))


def build(tag: str, context: Path, *more: str) -> str:
    """Build a Dockerfile; the image's id."""
    nofile = resource.getrlimit(resource.RLIMIT_NOFILE)
    words = ["build", "--format", "docker", "--network", "host", "--pull=never"]
    words += ["--ulimit", f"nofile={min(nofile[0], nofile[1])}:{nofile[1]}", "--tag", tag]
    podman(*words, *more, context)
    return podman("image", "inspect", tag, "--format", "{{.Id}}")


def copy_context(folder: Path) -> None:
    """The build's context as it is now: what .dockerignore lets through."""
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            source = ROOT / line[1:]
            if source.is_dir():
                shutil.copytree(source, folder / source.name, ignore=ignore)
            else:
                shutil.copy2(source, folder)
    shutil.copy2(ROOT / "Dockerfile", folder)


def make_image(context: Path, *more: str) -> str:
    """The project's Dockerfile on the base made here, with this machine's CA as the secret."""
    secret = ["--secret", f"id=ca,src={BUNDLE}"] if BUNDLE.exists() else []
    return build(IMAGE, context, "--build-arg", f"BASE_IMAGE={BASE}", *secret, *more)


def size_of(image: str) -> int:
    return int(podman("image", "inspect", image, "--format", "{{.Size}}"))


# ---- pods -------------------------------------------------------------------------------------


@dataclass
class Machine:
    """Everything that was started, so that all of it is ended."""

    prefix: str = "idemproxy-test-"
    containers: list[str] = field(default_factory=list)
    pods: list[str] = field(default_factory=list)

    def pod(self, name: str) -> str:
        full = self.prefix + name
        podman("pod", "rm", "--force", "--ignore", full)
        podman("pod", "create", "--name", full)
        self.pods.append(full)
        return full

    def start(self, name: str, image: str, options: list[str], command: list[str]) -> str:
        full = self.prefix + name
        podman("rm", "--force", "--ignore", full)
        self.containers.append(full)
        podman("run", "--detach", "--name", full, *options, image, *command)
        return full

    def close(self) -> None:
        for name in self.containers:
            podman("rm", "--force", "--ignore", "--time", "0", name, check=False)
        for pod in self.pods:
            podman("pod", "rm", "--force", "--ignore", "--time", "0", pod, check=False)


def address_of(container: str) -> str:
    """The container's, or its pod's, address on the bridge."""
    infra = podman("inspect", container, "--format", "{{.Pod}}")
    holder = podman("pod", "inspect", infra, "--format", "{{.InfraContainerID}}") if infra else ""
    found = podman("inspect", holder or container, "--format", "{{.NetworkSettings.IPAddress}}")
    if not found:
        raise PodmanError(f"{container} has no address")
    return found


def state_of(container: str) -> tuple[str, int, bool]:
    """Its status, exit code, and whether it was ended for want of memory."""
    fields = "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}"
    status, code, oom = podman("inspect", container, "--format", fields).split()
    return status, int(code), oom == "true"


def pid_of(container: str) -> int:
    return int(podman("inspect", container, "--format", "{{.State.Pid}}"))
