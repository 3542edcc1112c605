"""Every error of the proxy's own.

::

    ProxyError
    ├── ConfigError          settings or rules that cannot be used; exit code 2
    ├── StoreUnavailable     the store did not answer, or not in time
    └── Problem              the whole request gets an RFC 9457 problem document
                             (status, stable code, title, detail, extra headers)
"""

from __future__ import annotations


class ProxyError(Exception):
    """The root of the hierarchy."""


class ConfigError(ProxyError):
    """Settings or rules that cannot be used. ``mistakes`` holds one line each."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class StoreUnavailable(ProxyError):
    """The store did not answer, or not in time. It says nothing of what the store did."""


class Problem(ProxyError):
    """An answer of the proxy's own to the whole request, as RFC 9457 problem details.

    ``code`` is the last segment of the document's stable ``type``.
    """

    def __init__(
        self, status: int, code: str, detail: str, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers
