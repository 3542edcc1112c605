"""The stores, behind one interface. ``open_store`` puts one together from its settings::

guard.py      a time limit on every call, the circuit breaker, the metrics
  sealed.py   stored results encrypted, where there is a key
    memory.py | redis.py ── topology.py ── link.py ── pipe.py
"""

from __future__ import annotations

from proxy.errors import ConfigError
from proxy.observe import Observer
from proxy.store.base import ScannableStore, Store, StoreInfo
from proxy.store.guard import GuardedStore
from proxy.store.link import Access
from proxy.store.memory import MemoryStore
from proxy.store.redis import RedisStore
from proxy.store.sealed import SealedStore, Sealer
from proxy.store.sentinels import Sentinels
from proxy.store.topology import Cluster, Single, Topology
from proxy.store.url import StoreUrl, parse_store_url

__all__ = ["ScannableStore", "Store", "StoreInfo", "open_store", "parse_store_url"]


def open_store(
    url: str = "memory://",
    *,
    username: str | None = None,
    password: str | None = None,
    ca_file: str | None = None,
    timeout: float = 0.25,
    prefix: str = "idem",
    memory_max: int = 256 * 1024 * 1024,
    encryption_keys: str | None = None,
    observer: Observer | None = None,
) -> GuardedStore:
    """Nothing is connected yet: ``probe`` does that, or the first call. ``encryption_keys`` is the
    content of ENCRYPTION_KEY_FILE. ConfigError where the settings contradict each other."""
    parsed = parse_store_url(url)
    store: ScannableStore
    if parsed.kind == "memory":
        given = {
            "STORE_USERNAME": username,
            "STORE_PASSWORD_FILE": password,
            "STORE_CA_FILE": ca_file,
        }
        refused = [name for name, value in given.items() if value is not None]
        if refused:
            raise ConfigError(f"STORE: memory:// does not use {', '.join(refused)}")
        store = MemoryStore(memory_max)
    else:
        access = _access(parsed, username, password, ca_file, timeout)
        store = RedisStore(_topology(parsed, access), prefix, timeout)
    sealer = Sealer({}) if encryption_keys is None else Sealer.from_text(encryption_keys)
    if sealer or parsed.kind != "memory":
        store = SealedStore(store, sealer)
    return GuardedStore(store, timeout, observer or Observer())


def _access(
    url: StoreUrl, username: str | None, password: str | None, ca_file: str | None, timeout: float
) -> Access:
    if url.username is not None and username is not None and url.username != username:
        raise ConfigError("STORE_USERNAME: the store's URL names another user")
    user = username if username is not None else url.username
    if user is not None and password is None:
        raise ConfigError("STORE_USERNAME: a user needs STORE_PASSWORD_FILE")
    if ca_file is not None and not url.tls:
        raise ConfigError("STORE_CA_FILE: the store's URL is without TLS; rediss:// has it")
    return Access(user, password, url.tls, ca_file, timeout)


def _topology(url: StoreUrl, access: Access) -> Topology:
    if url.kind == "cluster":
        return Cluster(access, url.hosts)
    if url.kind == "sentinel":
        return Sentinels(access, url.hosts, url.master, url.db)
    return Single(access, url.path or url.hosts[0], url.db)
