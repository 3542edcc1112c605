"""The admin port, asked from a terminal. Law: a token comes from a file and never from a flag."""

from __future__ import annotations

import argparse
import http.client
import os
import sys
import urllib.parse
from dataclasses import dataclass
from typing import Any, Final

import orjson
from rich.console import Console
from rich.markup import escape

from proxy.errors import ConfigError, ProxyError
from proxy.settings import read_secret

_ADMIN_PORT: Final = 9000
_PATIENCE: Final = 30.0


class AdminError(ProxyError):
    """The admin port did not do what it was asked; ``status`` 0 where it did not answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def default_url() -> str:
    """The admin listener of a proxy on this machine, by its own setting."""
    listen = os.environ.get("IDEMPROXY_ADMIN_LISTEN", "")
    port = listen.rpartition(":")[2]
    return f"http://127.0.0.1:{port if port.isdigit() else _ADMIN_PORT}"


def add_url(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url",
        default=default_url(),
        help="the admin port (default: %(default)s, by IDEMPROXY_ADMIN_LISTEN)",
    )


def add_token(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--token-file",
        default=os.environ.get("IDEMPROXY_ADMIN_TOKEN_FILE", ""),
        help="the file with the admin token (default: IDEMPROXY_ADMIN_TOKEN_FILE)",
    )


def visible(text: str) -> str:
    """``text`` for a terminal: what could steer it is shown, and rich takes nothing for markup."""
    return escape("".join(c if c.isprintable() else repr(c)[1:-1] for c in text))


def make_console() -> Console:
    """What is read by a program is not cut to a terminal's width."""
    return Console(width=None if sys.stdout.isatty() else 200)


def warn(text: str) -> None:
    """A line for the person at the terminal."""
    sys.stderr.write(f"idemproxy: {text}\n")


@dataclass(frozen=True, slots=True)
class AdminClient:
    """One request a connection; ``token`` None: only what needs none."""

    url: str
    token: str | None = None

    @classmethod
    def with_token(cls, url: str, token_file: str) -> AdminClient:
        """Raises ConfigError where there is no token."""
        if not token_file:
            raise ConfigError("the records API needs --token-file or IDEMPROXY_ADMIN_TOKEN_FILE")
        return cls(url, read_secret(token_file).decode("utf-8", "surrogateescape"))

    def get(self, path: str) -> bytes:
        """The body of a success. Raises AdminError."""
        status, body = self._ask("GET", path, None)
        if status != 200:
            raise _error(status, body)
        return body

    def readiness(self) -> Any:
        """What /readyz says, ready or not. Raises AdminError."""
        status, body = self._ask("GET", "/readyz", None)
        if status not in (200, 503):
            raise _error(status, body)
        return orjson.loads(body)

    def post(self, path: str, asked: Any) -> bytes:
        """The answer to 200 and 409: some of what was asked. Raises AdminError."""
        status, answer = self._ask("POST", path, orjson.dumps(asked))
        if status not in (200, 409):
            raise _error(status, answer)
        return answer

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        where = urllib.parse.urlsplit(self.url)
        if where.scheme not in ("http", "https") or not where.hostname:
            raise ConfigError(f"--url {self.url!r}: must be an http or https URL")
        kind = (
            http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
        )
        connection = kind(where.hostname, where.port, timeout=_PATIENCE)
        headers = {} if body is None else {"Content-Type": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            connection.request(method, where.path.rstrip("/") + path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise AdminError(f"{self.url} does not answer: {error}") from error
        finally:
            connection.close()


def _error(status: int, body: bytes) -> AdminError:
    try:
        problem = orjson.loads(body)
        said = f"{problem['title']}: {problem['detail']}"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        said = body[:200].decode(errors="replace")
    return AdminError(f"{status}: {said}", status)
