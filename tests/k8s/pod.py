"""A real pod: the image, the native start and stop order, reload, and what a crash shows clients.

Run as root by `make pod`. It prints one line for each thing that was shown, and exits 1 at the
first that does not hold. Podman plays the kubelet: this program drives probes and hooks itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.k8s import load, podman
from tests.k8s.load import Client, Load, Service, get, item, until

K8S = podman.ROOT / "k8s"
SIDECAR = YAML(typ="safe").load(K8S / "component" / "sidecar.yaml")["spec"]["template"]["spec"][
    "initContainers"
][0]
APP = ["python3", "-m", "examples.notifications", "--host", "127.0.0.1", "--db", "/data/sent.db"]
NOBODY = 65532
ENDPOINT_LAG = 1.0
"""How long after a pod is told to end new connections still come to it."""


class CheckError(Exception):
    """Something that was to be shown does not hold."""


def shown(what: str, holds: bool, detail: object = "") -> None:
    if not holds:
        raise CheckError(f"{what}: {detail}")
    print(f"ok    {what}{f' ({detail})' if detail != '' else ''}", flush=True)


# ---- what the kubelet mounts ------------------------------------------------------------------


@dataclass
class RulesMount:
    """A ConfigMap's directory: the file is a link to ..data/FILE, and ..data one to a folder that
    bears a time; an edit makes a new folder and swaps the one link."""

    folder: Path
    version: int = 0

    def write(self, text: str) -> None:
        self.version += 1
        name = f"..2026_01_01_00_00_00.{self.version:09d}"
        (self.folder / name).mkdir(mode=0o755)
        (self.folder / name / "rules.yaml").write_text(text)
        fresh = self.folder / "..data_tmp"
        fresh.symlink_to(name)
        fresh.rename(self.folder / "..data")
        if not (self.folder / "rules.yaml").is_symlink():
            (self.folder / "rules.yaml").symlink_to("..data/rules.yaml")


def rules(mode: str) -> str:
    """The example's rules, with a lease that a test can wait for."""
    text = (K8S / "example" / "rules" / mode / "rules.yaml").read_text()
    limits = "    lease: 4s\n    upstream:\n      timeout: 2s\n"
    return text.replace("    upstream:\n", limits, 1)


# ---- a pod, in native order -------------------------------------------------------------------


@dataclass
class Pod:
    machine: podman.Machine
    name: str
    mount: RulesMount
    data: Path
    redis: str
    ip: str = ""
    startup: float = 0.0

    @property
    def sidecar(self) -> str:
        return f"{self.machine.prefix}{self.name}-sidecar"

    @property
    def app(self) -> str:
        return f"{self.machine.prefix}{self.name}-app"

    def start(self) -> None:
        """The sidecar until its startup probe passes, and then the app."""
        pod = self.machine.pod(self.name)
        env = {entry["name"]: entry["value"] for entry in SIDECAR["env"]}
        env["IDEMPROXY_STORE"] = f"redis://{self.redis}:6379/0"
        memory = SIDECAR["resources"]["limits"]["memory"].lower().removesuffix("i")
        options = ["--pod", pod, *locked_down(), "--memory", memory]
        options += [word for key, value in env.items() for word in ("--env", f"{key}={value}")]
        options += ["--volume", f"{self.mount.folder}:{env['IDEMPROXY_RULES']}:ro"]
        started = time.monotonic()
        self.machine.start(f"{self.name}-sidecar", podman.IMAGE, options, ["serve"])
        self.ip = podman.address_of(self.sidecar)
        self.wait_ready()
        self.startup = time.monotonic() - started
        options = ["--pod", pod, *locked_down(), "--volume", f"{self.data}:/data"]
        options += ["--entrypoint", json.dumps(APP)]
        self.machine.start(f"{self.name}-app", podman.IMAGE, options, [])
        until("the app answers", lambda: get(self.ip, 8000, "/api/v1/calls")[0] == 200)

    def wait_ready(self) -> None:
        probe = SIDECAR["startupProbe"]["httpGet"]
        try:
            until("ready", lambda: get(self.ip, probe["port"], probe["path"])[0] == 200)
        except TimeoutError as error:
            logs = podman.podman("logs", "--tail", "20", self.sidecar, check=False)
            raise CheckError(f"{self.sidecar} is not ready: {logs}") from error

    def end(self) -> None:
        """preStop of the app, SIGTERM to the app, and when it is gone SIGTERM to the sidecar."""
        get(self.ip, 9000, "/drain?wait=15s&quiet=4s", timeout=20)
        podman.podman("stop", "--time", "30", self.app)
        podman.podman("stop", "--time", "30", self.sidecar)

    def restart_sidecar(self) -> None:
        """What restartPolicy Always does."""
        until("it ended", lambda: podman.state_of(self.sidecar)[0] == "exited")
        podman.podman("start", self.sidecar)
        self.wait_ready()


def locked_down() -> list[str]:
    words = ["--read-only", "--read-only-tmpfs=false", "--cap-drop", "all"]
    return [*words, "--security-opt", "no-new-privileges", "--user", f"{NOBODY}:{NOBODY}"]


# ---- what is shown ----------------------------------------------------------------------------


def image(context: Path) -> None:
    podman.make_base()
    podman.make_redis()
    podman.copy_context(context)
    podman.make_image(context, "--no-cache", "--timestamp", "0")
    first = inside(HASH)
    above = (podman.size_of(podman.IMAGE) - podman.size_of(podman.BASE)) / 1e6
    shown("the image is less than 60 MB above its base", above < 60, f"{above:.1f} MB")
    shown("it has no pip", inside("try: import pip\nexcept ImportError: print('none')") == "none")
    names = "import shutil; print([n for n in ('pip', 'pip3', 'gcc', 'cc') if shutil.which(n)])"
    shown("it has no compiler and no pip command", inside(names) == "[]")
    compiled = inside("from proxy.build import is_compiled; print(is_compiled())")
    shown("it runs compiled", compiled == "True")
    podman.make_image(context, "--no-cache", "--timestamp", "0")
    shown("built again, it holds the same files, times included", inside(HASH) == first)


HASH = """
import hashlib, os
total = hashlib.sha256()
for folder, folders, files in os.walk('/opt/idemproxy'):
    folders.sort()
    for name in sorted(files):
        path = os.path.join(folder, name)
        total.update(f'{path} {os.lstat(path).st_mtime_ns} {os.lstat(path).st_mode}'.encode())
        if not os.path.islink(path):
            total.update(open(path, 'rb').read())
print(total.hexdigest())
"""


def inside(program: str) -> str:
    return podman.podman(
        "run", "--rm", "--network", "none", "--entrypoint", "python3", podman.IMAGE, "-c", program
    )


def basics(pod: Pod) -> None:
    shown("the sidecar starts before the app", True, f"ready after {pod.startup:.2f} s")
    client = Client(Service([pod.ip]))
    status, _, body = client.post([item("a"), item("b")])
    shown("a batch of new items", status == 200 and all(map(load.done, body["results"])))
    _, _, body = client.post([item("b"), item("c"), item("a")])
    flags = [result["isIdempotent"] for result in body["results"]]
    shown("sent again with a new one between", flags == [True, False, True], flags)
    client.close()
    for path in ("/livez", "/readyz", "/metrics"):
        shown(f"the admin port answers {path}", get(pod.ip, 9000, path)[0] == 200)
    podman.podman("healthcheck", "run", pod.sidecar)
    shown("the image's own HEALTHCHECK passes", True)
    try:
        get(pod.ip, 8080, "/", timeout=2)
    except OSError as error:
        shown("the service itself cannot be reached from outside", True, type(error).__name__)
    else:
        raise CheckError("the service can be reached around the proxy")


def read_only(pod: Pod) -> None:
    program = "import os\nprint(os.getuid())\n" + "".join(
        f"try: open('{folder}/x', 'w'); print('{folder} is writable')\nexcept OSError: pass\n"
        for folder in ("", "/run", "/opt/idemproxy", "/etc/idemproxy/rules")
    )
    said = podman.podman("exec", pod.sidecar, "python3", "-c", program)
    shown("it runs as nobody on a read-only root", said == str(NOBODY), said)


def reload(pod: Pod) -> None:
    def digest() -> str:
        return str(json.loads(get(pod.ip, 9000, "/readyz")[1])["rules"]["digest"])

    pid, before = podman.pid_of(pod.sidecar), digest()
    pod.mount.write(rules("off"))
    took = until("the rules were read again", lambda: digest() != before)
    client = Client(Service([pod.ip]))
    _, headers, _ = client.post([item("off")])
    shown("a ConfigMap swap reloads", "Idempotency-Items" not in headers, f"after {took:.1f} s")
    pod.mount.write("version: 1\nrules: [nonsense]\n")
    bad = "the bad file was noticed"
    until(bad, lambda: b'rules_reload_total{result="refused"} 0' not in metrics(pod))
    shown("a bad file changes nothing", "Idempotency-Items" not in client.post([item("x")])[1])
    pod.mount.write(rules("enforce"))
    until("and back", lambda: digest() == before)
    _, headers, _ = client.post([item("on")])
    client.close()
    shown("and back again, without a restart", "Idempotency-Items" in headers)
    shown("it is the same process", podman.pid_of(pod.sidecar) == pid)


def metrics(pod: Pod) -> bytes:
    return get(pod.ip, 9000, "/metrics")[1]


def rolling_stop(old: Pod, new: Pod) -> None:
    service = Service([old.ip])
    traffic = Load(service, "roll")
    traffic.start(clients=4)
    until("traffic flows", lambda: traffic.answered > 50)
    new.start()
    service.set(old.ip, new.ip)
    before = traffic.answered
    until("traffic goes to both", lambda: traffic.answered > before + 50)
    leave = threading.Timer(ENDPOINT_LAG, service.set, [new.ip])
    leave.start()
    started = time.monotonic()
    old.end()
    took = time.monotonic() - started
    before = traffic.answered
    until("traffic flows on", lambda: traffic.answered > before + 50)
    traffic.stop()
    leave.join()
    summary = f"{traffic.answered} batches, the old pod ended in {took:.1f} s"
    shown("nothing is lost across a rolling stop", not traffic.missing, dict(traffic.saw))
    shown("every answer was a 200", set(traffic.saw) == {"200"}, summary)
    same_number(new, traffic, "each item was done once")


def same_number(pod: Pod, traffic: Load, what: str) -> None:
    """The table holds each key of this load, once: keys are unique in it, so rows are counted."""
    table = sqlite3.connect(f"file:{pod.data / 'sent.db'}?mode=ro", uri=True)
    query = "SELECT count(*), count(DISTINCT key) FROM notifications WHERE key LIKE ?"
    rows, different = table.execute(query, (f"{traffic.name}-%",)).fetchone()
    table.close()
    keys = len(set(traffic.keys))
    shown(what, rows == different == keys, f"{rows} rows for {keys} keys")


def killed(pod: Pod, name: str, kill: Callable[[Pod], None]) -> None:
    """The sidecar ends without a word in the middle of traffic, and is started again."""
    traffic = Load(Service([pod.ip]), name.replace(" ", ""), retries=True)
    traffic.start(clients=4)
    until("traffic flows", lambda: traffic.answered > 20)
    kill(pod)
    pod.restart_sidecar()
    before = traffic.answered
    until("traffic flows again", lambda: traffic.answered > before + 20)
    traffic.stop()
    shown(f"{name}: every client has its answer in the end", not traffic.missing, traffic.missing)
    same_number(pod, traffic, f"{name}: and each item was done once")
    print(f"      what clients saw: {dict(traffic.saw)}")


def kill_9(pod: Pod) -> None:
    podman.podman("kill", "--signal", "KILL", pod.sidecar)


def out_of_memory(pod: Pod) -> None:
    """The container's limit is set to little more than it uses, and large batches are sent."""
    group = memory_group(podman.pid_of(pod.sidecar))
    version_2 = (group / "memory.max").exists()
    used = int((group / ("memory.current" if version_2 else "memory.usage_in_bytes")).read_text())
    limit = "memory.max" if version_2 else "memory.limit_in_bytes"
    (group / limit).write_text(str(used + 6_000_000))
    big = [item(f"big-{i}", padding=40_000) for i in range(100)]

    def send() -> None:
        with contextlib.suppress(ConnectionError):
            Client(Service([pod.ip])).post(big)

    threads = [threading.Thread(target=send, daemon=True) for _ in range(12)]
    for thread in threads:
        thread.start()
    until("the kernel ended it", lambda: podman.state_of(pod.sidecar)[0] == "exited")
    for thread in threads:
        thread.join(30)
    status, code, oom = podman.state_of(pod.sidecar)
    shown("the kernel ended the sidecar for want of memory", code == 137, f"{status}, OOM {oom}")


def memory_group(pid: int) -> Path:
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, kinds, path = line.split(":", 2)
        if "memory" in kinds.split(","):
            return Path("/sys/fs/cgroup/memory") / path.lstrip("/")
        if not kinds:
            unified = Path("/sys/fs/cgroup") / path.lstrip("/")
            if (unified / "memory.max").exists():
                return unified
    raise CheckError("no memory cgroup found")


def main() -> int:
    if reason := podman.why_not():
        print(f"make pod cannot run here: {reason}", file=sys.stderr)
        return 1
    folder = Path(tempfile.mkdtemp(prefix="idemproxy-pod-", dir="/var/tmp"))
    folder.chmod(0o755)
    machine = podman.Machine()
    try:
        podman.configure(folder)
        show_all(machine, folder)
    except (CheckError, TimeoutError, podman.PodmanError) as error:
        print(f"FAIL  {error}", file=sys.stderr)
        for name in machine.containers:
            logs: Any = podman.run("podman", "logs", "--tail", "15", name, check=False)
            print(f"--- {name}\n{logs}", file=sys.stderr)
        return 1
    finally:
        machine.close()
        shutil.rmtree(folder, ignore_errors=True)
    print("all shown")
    return 0


def show_all(machine: podman.Machine, folder: Path) -> None:
    context = folder / "context"
    context.mkdir()
    image(context)
    mount = RulesMount(folder / "rules")
    mount.folder.mkdir(mode=0o755)
    mount.write(rules("enforce"))
    data = folder / "data"
    data.mkdir()
    os.chown(data, NOBODY, NOBODY)
    options = ["--user", "65531:65531", "--cap-drop", "all"]
    command = ["redis-server", "--protected-mode", "no", "--save", "", "--appendonly", "no"]
    redis = machine.start("redis", podman.REDIS, options, command)
    old, new = (
        Pod(machine, name, mount, data, podman.address_of(redis)) for name in ("old", "new")
    )
    old.start()
    basics(old)
    read_only(old)
    reload(old)
    rolling_stop(old, new)
    killed(new, "kill -9", kill_9)
    killed(new, "out of memory", out_of_memory)


if __name__ == "__main__":
    sys.exit(main())
