"""What the data listener hands to the driver, and gets back. Law: values only."""

from __future__ import annotations

from msgspec import Struct

from proxy.core.upstream import Headers, KeptHead
from rules.model import Batch, Rule


class Exchange(Struct, frozen=True):
    """One request that a rule handles.

    ``target``: raw path and query. ``headers``: what goes upstream, end-to-end only, with request
    id, Via and X-Forwarded-* set, without framing, Content-Encoding, Expect or Accept-Encoding.
    ``scope``: the scope's values in the rule's order. ``may_split`` False: a signed request,
    forwarded whole or not at all. ``kept``: the head, where another request's was the same.
    """

    rule: Rule
    batch: Batch
    method: str
    target: str
    headers: Headers
    scope: tuple[str, ...]
    request_id: str
    may_split: bool = True
    trace_id: str = ""
    kept: KeptHead | None = None


class Answer(Struct, frozen=True):
    """A whole answer; ``headers`` without framing and Date, which the listener makes."""

    status: int
    headers: Headers
    body: bytes
