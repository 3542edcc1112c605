"""One serving process: put together, started, drained, stopped. Law: all wiring is here.

Start: everything that can be wrong is found before the listener opens. Stop, on SIGTERM: not
ready, no new connections, ``Connection: close``; what is under way ends, at most DRAIN_TIMEOUT;
the driver's tasks and its backlog end; then the store and the connections close.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from proxy.admin.app import Admin
from proxy.admin.records import Desk
from proxy.app import DataApp
from proxy.batching import Batching
from proxy.budget import Budget
from proxy.build import version
from proxy.core.keys import KeyMaker
from proxy.direct import Direct
from proxy.edge.origin import OriginClient
from proxy.edge.server import EdgeServer, require_c_parser
from proxy.errors import ConfigError, StoreUnavailable
from proxy.flow import Flow, wall_ms
from proxy.jwt import Claims
from proxy.lifecycle import Lifecycle
from proxy.logs import Telling, configure
from proxy.passthrough import Passthrough
from proxy.reload import Reloader
from proxy.settings import Settings, read_secret
from proxy.shadow import Shadow
from proxy.store import open_store
from proxy.store.guard import GuardedStore
from proxy.tracing import from_environment as tracing_from_environment
from proxy.upstream import HttpUpstream
from proxy.values import Address
from proxy.websocket import WebSockets
from rules.load import check_against_settings
from rules.match import RuleSet
from rules.mistakes import Mistake, Place, RulesError

_LOG: Final = logging.getLogger(__name__)
_BACKLOG: Final = 1024
_LAST_WORDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Worker:
    """Which of several processes this is. ``metrics_folder``: where all of them count."""

    number: int = 0
    metrics_folder: str | None = None

    @staticmethod
    def tell_parent() -> None:
        """Have every worker drain."""
        os.kill(os.getppid(), signal.SIGUSR1)


@dataclass(slots=True)
class Process:
    """What one serving process is made of."""

    settings: Settings
    lifecycle: Lifecycle
    observer: Telling
    reloader: Reloader
    store: GuardedStore
    flow: Flow
    data: DataApp
    edge: EdgeServer
    origin: OriginClient
    admin: web.AppRunner
    listeners: list[asyncio.AbstractServer]
    addresses: list[str]


async def serve(settings: Settings, worker: Worker | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Raises ConfigError."""
    worker = worker or Worker()
    configure(settings.log_level, settings.log_format)
    stop = asyncio.Event()
    lifecycle = Lifecycle(worker.tell_parent if worker.metrics_folder else None)
    loop = asyncio.get_running_loop()
    # Before the listeners open: a worker that starts while another is told to drain must hear of
    # it, and one that has no handler yet would be ended by the signal.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, lifecycle.begin_drain, settings.drain_timeout)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # the rules are about to be read anyway
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGUSR1, signal.SIGHUP))
    async with AsyncExitStack() as stack:
        process = await start(settings, stack, worker, lifecycle)
        loop.add_signal_handler(signal.SIGHUP, process.reloader.trigger)
        calm_collector()
        await stop.wait()
        return await drain(process)


async def start(
    settings: Settings, stack: AsyncExitStack, worker: Worker, lifecycle: Lifecycle
) -> Process:
    """Build everything and open the listeners; ``stack`` takes it all down again."""
    require_c_parser()
    observer = Telling(multiproc_dir=worker.metrics_folder, worker=worker.number)
    reloader = load_rules(settings, observer)
    store = make_store(settings, observer)
    stack.push_async_callback(store.close)
    kind = await probe(store)
    keys = make_keys(settings)
    origin = OriginClient(settings)
    stack.push_async_callback(origin.close)
    upstream = HttpUpstream(origin, settings.upstream_max_response)
    margin = 2 * settings.store_timeout
    tracing = tracing_from_environment()
    if tracing is not None:
        stack.callback(tracing.close)
    flow = Flow(
        tracing.store(store) if tracing else store,
        tracing.upstream(upstream) if tracing else upstream,
        keys,
        observer,
        now_ms=wall_ms,
        lease_margin=margin,
    )
    passthrough = Passthrough(origin, settings, lifecycle)
    budget = Budget(settings.max_buffered)
    data = DataApp(
        settings,
        reloader.in_force.now,
        batching=Batching(Claims(settings), observer),
        flow=tracing.driver(flow) if tracing else flow,
        shadow=Shadow(store, keys, observer, now_ms=wall_ms),
        passthrough=passthrough,
        websockets=WebSockets(origin, passthrough, settings),
        lifecycle=lifecycle,
        observer=observer,
        budget=budget,
    )
    direct = Direct(
        settings,
        reloader.in_force.now,
        flow=flow,
        budget=budget,
        lifecycle=lifecycle,
        observer=observer,
    )
    # A span is around the driver's whole work: traced, every batch goes the long way.
    edge = EdgeServer(data, settings, observer, None if tracing else direct)
    desk = Desk(store, keys, reloader.in_force.now)
    token = read_secret(settings.admin_token_file) if settings.admin_token_file else None
    admin = Admin(lifecycle, reloader, observer, desk, kind, token, settings.drain_timeout)
    runner = web.AppRunner(admin.app(), access_log=None, handle_signals=False)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    process = Process(
        settings, lifecycle, observer, reloader, store, flow, data, edge, origin, runner, [], []
    )
    stack.callback(stop_accepting, process)
    await _listen(process)
    watching = asyncio.create_task(reloader.run())
    stack.callback(watching.cancel)
    lifecycle.ready = True
    _LOG.info(
        "serving",
        extra={
            "version": version(),
            "listeners": process.addresses,
            "upstream": settings.upstream.path or settings.upstream.authority,
            "rules": {rule.name: str(rule.mode) for rule in reloader.current.rules},
            "store": kind,
            "worker": worker.number,
        },
    )
    return process


async def drain(process: Process) -> int:
    """Everything after SIGTERM but closing. 0 where all that was under way has ended."""
    loop = asyncio.get_running_loop()
    end = loop.time() + process.settings.drain_timeout
    _LOG.info("draining", extra={"in_flight": process.lifecycle.in_flight})
    process.lifecycle.stop()
    stop_accepting(process)
    process.edge.close_idle()
    idle = await process.lifecycle.wait_idle(end - loop.time())
    flushed = await process.flow.drain(max(0.0, end - loop.time()))
    watched = await process.data.drain(max(0.0, end - loop.time()))
    # Answers are being written still when their handlers have ended; tunnels end here.
    await process.edge.shutdown(_LAST_WORDS)
    if idle and flushed and watched:
        _LOG.info("stopped")
        return 0
    _LOG.error("stopped with work under way: its claims are left to their leases")
    return 1


def calm_collector() -> None:
    """What was built so far stays for good, and a batch makes thousands of objects of which none
    stands in a cycle: looking through them so often cost 5 to 10% of the processor."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def stop_accepting(process: Process) -> None:
    """Close the data listener; connections that are open stay so."""
    for listener in process.listeners:
        listener.close()


def load_rules(settings: Settings, observer: Telling) -> Reloader:
    """The rules, read and judged. Raises ConfigError."""
    if not settings.rules:
        raise ConfigError("IDEMPROXY_RULES: name the rules file, or a folder of them")
    reloader = Reloader(
        settings.rules,
        on_change=lambda rules: observer.rules_loaded([rule.name for rule in rules.rules]),
        on_result=observer.rules_reload,
        check=lambda rules: check_rules(rules, settings),
    )
    try:
        reloader.load()
    except RulesError as error:
        raise ConfigError(*(str(mistake) for mistake in error.mistakes)) from error
    return reloader


def check_rules(rules: RuleSet, settings: Settings) -> Sequence[Mistake]:
    """What is wrong with rules in the light of the settings."""
    mistakes = check_against_settings(rules, settings.store_timeout)
    verifies = settings.jwt_jwks_file or settings.jwt_jwks_url or settings.jwt_secret_file
    for rule in rules.rules:
        verified = [p for p in rule.scope or () if p.kind == "jwt" and not p.unverified]
        if verified and not verifies:
            place = rules.places.get(rule.name, Place("", f"rule {rule.name}"))
            mistakes.append(
                place.mistake(
                    "scope",
                    "a jwt: scope needs JWT_SECRET_FILE, JWT_JWKS_FILE or JWT_JWKS_URL",
                )
            )
    return mistakes


def make_store(settings: Settings, observer: Telling) -> GuardedStore:
    """The store as the settings name it. Raises ConfigError."""
    password, keys = settings.store_password_file, settings.encryption_key_file
    return open_store(
        settings.store,
        username=settings.store_username or None,
        password=read_secret(password).decode() if password else None,
        ca_file=settings.store_ca_file or None,
        timeout=settings.store_timeout,
        prefix=settings.store_prefix,
        memory_max=settings.memory_store_max,
        encryption_keys=Path(keys).read_text("utf-8") if keys else None,
        observer=observer,
    )


async def probe(store: GuardedStore) -> str:
    """Look at the store and say what is there; its kind. A store that is down stops nothing."""
    try:
        info = await store.probe()
    except StoreUnavailable as error:
        _LOG.warning("the store does not answer", extra={"reason": str(error)})
        return "unknown"
    _LOG.info("store", extra={"kind": info.kind, **info.facts})
    for warning in info.warnings:
        _LOG.warning("store: %s", warning)
    return info.kind


def make_keys(settings: Settings) -> KeyMaker:
    """Raises ConfigError."""
    secret = read_secret(settings.key_secret_file) if settings.key_secret_file else None
    if secret is None:
        _LOG.warning(
            "KEY_SECRET_FILE is not set: who reads the store can try out which keys it holds"
        )
    try:
        return KeyMaker(settings.store_prefix, secret)
    except ValueError as error:
        raise ConfigError(f"IDEMPROXY_STORE_PREFIX: {error}") from error


async def _listen(process: Process) -> None:
    """The admin port first: who asks for readiness is answered while the rest comes up."""
    settings, loop = process.settings, asyncio.get_running_loop()
    shared = settings.workers > 1
    for listen in (settings.admin_listen, settings.listen):
        try:
            sock = _bind(listen, shared=shared)
        except OSError as error:
            where = listen.path or f"{listen.host}:{listen.port}"
            raise ConfigError(f"cannot listen on {where}: {error.strerror}") from error
        if listen is settings.admin_listen:
            await web.SockSite(process.admin, sock, backlog=128).start()
        elif listen.path:
            process.listeners.append(
                await loop.create_unix_server(process.edge, sock=sock, backlog=_BACKLOG)
            )
        else:
            process.listeners.append(
                await loop.create_server(process.edge, sock=sock, backlog=_BACKLOG)
            )
        process.addresses.append(listen.path or "{}:{}".format(*sock.getsockname()[:2]))


def _bind(listen: Address, *, shared: bool) -> socket.socket:
    if listen.path:
        Path(listen.path).unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(listen.path)
    else:
        family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((listen.host, listen.port))
    sock.setblocking(False)
    return sock
