"""Every setting: one table. Law: read once at start, all mistakes at once, secrets only in files.

``SETTINGS`` is the table; ``Settings`` holds what came of it, field by field in lower case. A
setting is the environment variable ``IDEMPROXY_NAME`` or the flag ``--name``; the flag wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from proxy.errors import ConfigError
from proxy.values import (
    Address,
    Origin,
    address,
    algorithms,
    count,
    networks,
    one_of,
    origin,
    path,
    plain,
    positive_duration,
    readable,
    size,
)
from rules.load import parse_duration as duration

PREFIX: Final = "IDEMPROXY_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One row: ``kind`` says in a word what ``parse`` accepts."""

    name: str
    default: str
    kind: str
    parse: Callable[[str], Any]
    help: str

    @property
    def field(self) -> str:
        return self.name.lower()

    @property
    def variable(self) -> str:
        return PREFIX + self.name

    @property
    def flag(self) -> str:
        return "--" + self.name.lower().replace("_", "-")


def _row(name: str, default: str, kind: str, text: str, parse: Callable[[str], Any]) -> Setting:
    return Setting(name, default, kind, parse, text)


SETTINGS: Final[tuple[Setting, ...]] = (
    _row("UPSTREAM", "http://127.0.0.1:8080", "origin", "the legacy service", origin),
    _row("UPSTREAM_CA_FILE", "", "file", "CA certificates that sign the service's", readable),
    _row("UPSTREAM_CERT_FILE", "", "file", "client certificate for the service", readable),
    _row("UPSTREAM_KEY_FILE", "", "file", "the client certificate's key", readable),
    _row("UPSTREAM_CONNECTIONS", "256", "number", "connections to the service at most", count),
    _row(
        "UPSTREAM_KEEPALIVE",
        "4s",
        "duration",
        "how long an idle connection is kept; less than the service keeps it",
        duration,
    ),
    _row(
        "UPSTREAM_CONNECT_TIMEOUT",
        "5s",
        "duration",
        "for a free connection, its handshake included",
        positive_duration,
    ),
    _row(
        "UPSTREAM_HEAD_TIMEOUT",
        "120s",
        "duration",
        "until a passed-through request's response begins",
        positive_duration,
    ),
    _row(
        "UPSTREAM_MAX_RESPONSE",
        "32MiB",
        "size",
        "a batch call's response, decoded; a larger one is an unknown outcome",
        size,
    ),
    _row("LISTEN", "0.0.0.0:8000", "address", "the data listener", address),
    _row("ADMIN_LISTEN", "0.0.0.0:9000", "address", "the admin listener", address),
    _row("STORE", "memory://", "url", "where the records are", plain),
    _row("STORE_USERNAME", "", "text", "the store's ACL user", plain),
    _row("STORE_PASSWORD_FILE", "", "file", "the store's password", readable),
    _row("STORE_CA_FILE", "", "file", "CA certificates that sign the store's", readable),
    _row("STORE_PREFIX", "idem", "text", "the first part of every Redis key", plain),
    _row("STORE_TIMEOUT", "250ms", "duration", "one store call", positive_duration),
    _row("MEMORY_STORE_MAX", "256MiB", "size", "the embedded store's cap", size),
    _row("KEY_SECRET_FILE", "", "file", "keys the digests in Redis key names", readable),
    _row("ENCRYPTION_KEY_FILE", "", "file", "keys that encrypt stored results", readable),
    _row("RULES", "", "path", "the rules file, or a folder of them", path),
    _row(
        "TRUSTED_PEERS",
        "",
        "CIDRs",
        "who may say where a request came from, and override a rule's mode",
        networks,
    ),
    _row("JWT_JWKS_FILE", "", "file", "public keys for jwt: scopes", readable),
    _row("JWT_JWKS_URL", "", "url", "the same, fetched and cached", plain),
    _row("JWT_SECRET_FILE", "", "file", "an HMAC secret for jwt: scopes", readable),
    _row(
        "JWT_ALGORITHMS",
        "",
        "list",
        "signatures that are accepted; RS256,ES256 where empty, HS256 with a secret",
        algorithms,
    ),
    _row("JWT_AUDIENCE", "", "text", "the audience that a token must have", plain),
    _row("MAX_CONNECTIONS", "1000", "number", "client connections at once; more: 503", count),
    _row(
        "MAX_BUFFERED",
        "64MiB",
        "size",
        "batch bodies held at once, all requests together; more: 503",
        size,
    ),
    _row("MAX_HEADER_SIZE", "16KiB", "size", "one header line or request line; more: 431", size),
    _row("MAX_HEADERS", "100", "number", "header lines of a request; more: 400", count),
    _row("HEADER_TIMEOUT", "10s", "duration", "a request's whole head; slower: 408", duration),
    _row("BODY_TIMEOUT", "30s", "duration", "between two reads of a body; slower: 408", duration),
    _row(
        "SEND_TIMEOUT",
        "60s",
        "duration",
        "for a client that does not read; then it is cut off",
        duration,
    ),
    _row("KEEPALIVE_TIMEOUT", "75s", "duration", "an idle client connection", duration),
    _row(
        "LOG_LEVEL",
        "info",
        "word",
        "debug, info, warning or error",
        one_of("debug", "info", "warning", "error"),
    ),
    _row("LOG_FORMAT", "json", "word", "json or text", one_of("json", "text")),
    _row(
        "DRAIN_TIMEOUT",
        "25s",
        "duration",
        "how long requests under way may take after SIGTERM",
        duration,
    ),
    _row("ADMIN_TOKEN_FILE", "", "file", "the bearer token of the records API", readable),
    _row("WORKERS", "1", "number", "processes that share the listeners", count),
)

BY_FIELD: Final = {setting.field: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True)
class Settings:
    """What each row of ``SETTINGS`` came to; sizes are bytes and durations seconds."""

    upstream: Origin
    upstream_ca_file: str
    upstream_cert_file: str
    upstream_key_file: str
    upstream_connections: int
    upstream_keepalive: float
    upstream_connect_timeout: float
    upstream_head_timeout: float
    upstream_max_response: int
    listen: Address
    admin_listen: Address
    store: str
    store_username: str
    store_password_file: str
    store_ca_file: str
    store_prefix: str
    store_timeout: float
    memory_store_max: int
    key_secret_file: str
    encryption_key_file: str
    rules: str
    trusted_peers: tuple[IPv4Network | IPv6Network, ...]
    jwt_jwks_file: str
    jwt_jwks_url: str
    jwt_secret_file: str
    jwt_algorithms: tuple[str, ...]
    jwt_audience: str
    max_connections: int
    max_buffered: int
    max_header_size: int
    max_headers: int
    header_timeout: float
    body_timeout: float
    send_timeout: float
    keepalive_timeout: float
    log_level: str
    log_format: str
    drain_timeout: float
    admin_token_file: str
    workers: int


def from_env_and_flags(env: Mapping[str, str], flags: Mapping[str, str] | None = None) -> Settings:
    """Settings from ``IDEMPROXY_*`` in ``env``, overridden by ``flags`` (field name -> text).

    Raises ConfigError with one line for each mistake.
    """
    given = {s.field: env[s.variable] for s in SETTINGS if s.variable in env}
    given.update(flags or {})
    mistakes = [
        f"{name}: there is no such setting"
        for name in sorted(env)
        if name.startswith(PREFIX) and name.removeprefix(PREFIX).lower() not in BY_FIELD
    ]
    fields: dict[str, Any] = {}
    for setting in SETTINGS:
        text = given.get(setting.field, setting.default).strip()
        try:
            fields[setting.field] = setting.parse(text)
        except ValueError as error:
            shown = "" if "://" in text else f" {text!r}"
            mistakes.append(f"{setting.variable}{shown}: {error}")
    if mistakes:
        raise ConfigError(*mistakes)
    settings = Settings(**fields)
    if mistakes := list(_contradictions(settings)):
        raise ConfigError(*mistakes)
    return settings


def defaults(**flags: str) -> Settings:
    """The defaults, some of them changed: for tests and tools."""
    return from_env_and_flags({}, flags)


def read_secret(file: str) -> bytes:
    """A secret file's content without the line end that editors add. Raises ConfigError."""
    try:
        secret = Path(file).read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    if not secret:
        raise ConfigError(f"{file}: is empty")
    return secret


def _contradictions(settings: Settings) -> list[str]:
    found = []
    if settings.workers > 1 and settings.store.startswith("memory:"):
        found.append(
            f"{PREFIX}WORKERS: memory:// is for one process; use Redis with more than one worker"
        )
    if settings.workers > 1 and (settings.listen.path or settings.admin_listen.path):
        found.append(f"{PREFIX}WORKERS: a unix socket cannot be shared by several processes")
    if bool(settings.upstream_cert_file) != bool(settings.upstream_key_file):
        found.append(
            f"{PREFIX}UPSTREAM_CERT_FILE and {PREFIX}UPSTREAM_KEY_FILE come together or not at all"
        )
    if settings.upstream_cert_file and not settings.upstream.tls:
        found.append(f"{PREFIX}UPSTREAM_CERT_FILE: the upstream is not https")
    if settings.upstream_ca_file and not settings.upstream.tls:
        found.append(f"{PREFIX}UPSTREAM_CA_FILE: the upstream is not https")
    sources = [settings.jwt_jwks_file, settings.jwt_jwks_url, settings.jwt_secret_file]
    if len([source for source in sources if source]) > 1:
        found.append(
            f"{PREFIX}JWT_JWKS_FILE, {PREFIX}JWT_JWKS_URL and {PREFIX}JWT_SECRET_FILE: one of them"
        )
    symmetric = [name for name in settings.jwt_algorithms if name.startswith("HS")]
    if symmetric and (settings.jwt_jwks_file or settings.jwt_jwks_url):
        found.append(
            f"{PREFIX}JWT_ALGORITHMS: {', '.join(symmetric)} would take a public key for a secret"
        )
    if (
        settings.jwt_algorithms
        and settings.jwt_secret_file
        and len(symmetric) != len(settings.jwt_algorithms)
    ):
        found.append(f"{PREFIX}JWT_ALGORITHMS: with JWT_SECRET_FILE only HS256, HS384 and HS512")
    if urlsplit(settings.store).password is not None:
        found.append(f"{PREFIX}STORE: a password stands in {PREFIX}STORE_PASSWORD_FILE, not here")
    if settings.jwt_jwks_url and not settings.jwt_jwks_url.startswith(("https://", "http://")):
        found.append(f"{PREFIX}JWT_JWKS_URL: must be an http or https URL")
    return found
