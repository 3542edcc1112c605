"""One request as it arrived, judged as HTTP before anything else looks at it.

Law: what is refused here is refused on every route. Nothing is built from the library's URL: in
absolute form its host is the client's word, so the target is cut out of the raw bytes.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from proxy.arrival import Arrival, Head, Inbound
from proxy.core.upstream import Headers
from proxy.edge.body import ClientBody
from proxy.edge.server import EdgeRequest
from proxy.errors import Problem
from proxy.headers import (
    HOP_BY_HOP,
    check_connection,
    end_to_end,
    first,
    forwarded,
    from_raw,
    is_trusted,
    listed,
    request_id,
    trace_id,
    values,
    without,
)
from proxy.randomness import random_bytes
from proxy.settings import Settings

_ABSOLUTE: Final = re.compile(r"https?://([^/?#]*)([^#]*)", re.IGNORECASE)
_NOT_ONWARD: Final = HOP_BY_HOP | {"expect", "max-forwards"}
_BAD_IN_TARGET: Final = re.compile(r"[\x00-\x20\x7f#]")


_Judged = tuple[str, str, Headers, frozenset[str], Headers, str, str, bool, str]
"""The members of an ``Arrival``, in order."""


def arrive(
    request: EdgeRequest, body: ClientBody, settings: Settings, scope_headers: Collection[str]
) -> Inbound:
    """Read and judge the head. Raises Problem."""
    spoken, raw, peer = request.spoken, request.raw_headers, _peer(request)
    head = Head(request.method, request.target, spoken, raw, peer)
    return Inbound(*_judged(head, settings, scope_headers), request, body)


def arrived(head: Head, settings: Settings, scope_headers: Collection[str]) -> Arrival:
    """The same for a head alone. Raises Problem."""
    return Arrival(*_judged(head, settings, scope_headers))


def _judged(head: Head, settings: Settings, scope_headers: Collection[str]) -> _Judged:
    headers = from_raw(head.raw_headers)
    # Most requests have none of what is looked for below; one set spares most of the looking.
    names = frozenset([name.lower() for name, _ in headers])
    _check_version(head.spoken, headers, names)
    if "connection" in names:
        check_connection(headers, scope_headers)
    target = _target(head, headers)
    if "expect" in names:
        _check_expectation(headers)
    trusted = is_trusted(head.peer, settings.trusted_peers)
    onward = headers
    if not names.isdisjoint(_NOT_ONWARD):
        onward = without(end_to_end(headers), {"expect"})
        onward = _one_hop_less(head.method, onward)
    identity = random_bytes(16).hex()
    if "x-request-id" in names:
        identity, onward = request_id(onward, identity)
    else:
        onward = (*onward, ("X-Request-Id", identity))
    return (
        head.method,
        target,
        headers,
        names,
        forwarded(onward, head.peer, trusted=trusted),
        identity,
        trace_id(headers) if "traceparent" in names else "",
        trusted,
        _upgrade(headers) if "upgrade" in names else "",
    )


def _check_version(spoken: tuple[int, ...], headers: Headers, names: Collection[str]) -> None:
    if spoken not in {(1, 0), (1, 1)}:
        raise Problem(400, "bad-version", "the request names another version")
    if spoken == (1, 0) and "transfer-encoding" in names:
        # RFC 9112 section 6.1: such a message's framing is faulty, and a smuggler's tool.
        raise Problem(400, "bad-request", "Transfer-Encoding in HTTP/1.0")
    if len(values(headers, "host")) > 1:
        raise Problem(400, "bad-request", "more than one Host")


def _target(head: Head, headers: Headers) -> str:
    target = head.target
    if head.method == "CONNECT":
        raise Problem(501, "method-not-supported", "CONNECT is for forward proxies")
    if not target.startswith("/") and not (target == "*" and head.method == "OPTIONS"):
        match = _ABSOLUTE.fullmatch(target)
        host = first(headers, "host") or ""
        # RFC 9112 section 3.2.2 lets the target win over Host; then two parts of a chain may
        # read two hosts, so the two must say the same.
        if not match or match.group(1).lower() != host.lower():
            raise Problem(400, "bad-target", "an absolute target must name the Host field's host")
        target = match.group(2)
        target = target if target.startswith("/") else "/" + target
    if _BAD_IN_TARGET.search(target):
        raise Problem(400, "bad-target", "the target has a character that no target may have")
    return target


def _check_expectation(headers: Headers) -> None:
    if listed(headers, "expect") - {"100-continue"}:
        raise Problem(417, "expectation-failed", "only 100-continue can be expected")


def _one_hop_less(method: str, headers: Headers) -> Headers:
    """Max-Forwards, which OPTIONS and TRACE may carry (RFC 9110 section 7.6.2)."""
    limit = first(headers, "max-forwards")
    if method not in {"OPTIONS", "TRACE"} or limit is None or not limit.isdigit():
        return headers
    if int(limit) == 0:
        raise Problem(501, "method-not-supported", "Max-Forwards ends here")
    return tuple(
        (name, str(int(limit) - 1) if name.lower() == "max-forwards" else value)
        for name, value in headers
    )


def _upgrade(headers: Headers) -> str:
    """The protocol that the client asks for, in lower case; h2c is never accepted, and clients
    that offer it (Java's do with every first request) do not need it."""
    if "upgrade" not in listed(headers, "connection"):
        return ""
    offered = listed(headers, "upgrade") - {"h2c"}
    return ", ".join(sorted(offered))


def _peer(request: EdgeRequest) -> str:
    transport = request.transport
    name = transport.get_extra_info("peername") if transport is not None else None
    return str(name[0]) if isinstance(name, tuple) and name else ""
