"""What is there at start-up, in plain words. Law: reads only; it never changes the server.

Only what makes the store unusable is an error: a server older than 7.0, or one that is part of a
Cluster behind a URL that is not a Cluster's. What an ACL user may not ask is said to be unknown.
"""

from __future__ import annotations

import asyncio
from typing import Final

import hiredis

from proxy.core.record import Release, Terms
from proxy.errors import ConfigError, StoreUnavailable
from proxy.store.base import Store, StoreInfo
from proxy.store.link import Link
from proxy.store.pipe import pack
from proxy.store.topology import Topology

_OLDEST: Final = (7, 0)
_INFO: Final = pack(b"INFO", b"default")
_SAVE: Final = pack(b"CONFIG", b"GET", b"save")
_NO_INFO: Final = (
    "the store's user may not run INFO: version, eviction policy and persistence are unknown"
)
_TERMS: Final = Terms(lease=1, retention=1, detects_duplicates=True)


async def probe(topology: Topology, key: bytes, store: Store) -> StoreInfo:
    """``key`` is one of the store's that is never written: releasing it shows that the scripts run
    and that this user may use the keys."""
    found = await asyncio.gather(*(_node(link) for link in await topology.links()))
    facts: dict[str, str] = {}
    warnings: dict[str, None] = {}
    for node_facts, node_warnings in found:
        for name, value in node_facts.items():
            kept = facts.get(name, value)
            facts[name] = value if value in kept.split(" | ") else f"{kept} | {value}"
        warnings.update(dict.fromkeys(node_warnings))
    if len(found) > 1:
        facts["masters"] = str(len(found))
    if topology.kind == "standalone" and facts.get("mode") == "cluster":
        raise ConfigError("the store is a Redis Cluster: its URL begins with redis+cluster://")
    await store.settle([key], [Release()], bytes(12), _TERMS)
    return StoreInfo(topology.kind, facts, tuple(warnings))


async def _node(link: Link) -> tuple[dict[str, str], list[str]]:
    reply = await link.call(_INFO)
    if isinstance(reply, hiredis.ReplyError):
        if not str(reply).startswith("NOPERM"):
            raise StoreUnavailable(f"Redis refuses: {reply}")
        return {"version": "unknown"}, [_NO_INFO]
    info = _fields(reply)
    name, version = _server(info)
    if _numbers(info.get("redis_version", "")) < _OLDEST:
        raise ConfigError(f"{name} {version} is too old for a store: 7.0 or newer is needed")
    saves = await link.call(_SAVE)
    saved = None if isinstance(saves, hiredis.ReplyError) else bool(saves[1])
    return _facts(info, f"{name} {version}", saved), _warnings(info, saved)


def _fields(text: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in text.decode("utf-8", "replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def _server(info: dict[str, str]) -> tuple[str, str]:
    """Valkey calls itself Redis 7.2 for old clients and gives its own version beside it."""
    if "valkey_version" in info:
        return "Valkey", info["valkey_version"]
    return "Redis", info.get("redis_version", "unknown")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _facts(info: dict[str, str], server: str, saved: bool | None) -> dict[str, str]:
    snapshots = "unknown" if saved is None else "on" if saved else "off"
    return {
        "version": server,
        "mode": info.get("redis_mode", "unknown"),
        "role": info.get("role", "unknown"),
        "eviction": info.get("maxmemory_policy", "unknown"),
        "maxmemory": info.get("maxmemory_human", "unknown"),
        "append_only_file": "on" if info.get("aof_enabled") == "1" else "off",
        "snapshots": snapshots,
        "replicas": info.get("connected_slaves", "unknown"),
    }


def _warnings(info: dict[str, str], saved: bool | None) -> list[str]:
    warnings = []
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        warnings.append(
            f"the store's eviction policy is {policy}: under memory pressure it forgets what was "
            "done, and an item can be done twice; set maxmemory-policy noeviction"
        )
    if info.get("aof_enabled") != "1":
        kept = {
            True: "snapshots alone lose what was recorded since the last one",
            False: "neither an append-only file nor snapshots are on: a restart forgets everything",
            None: "no append-only file, and whether there are snapshots is unknown",
        }[saved]
        warnings.append(f"the store may forget when it restarts: {kept}")
    if info.get("role") == "master" and info.get("connected_slaves") == "0":
        warnings.append("the store has no replica: while it is down, on_store_failure applies")
    return warnings
