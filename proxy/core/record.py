"""The record: what the store holds for one (rule, generation, scope, key). Law: values only.

No clock, no I/O. Times are integer milliseconds of the store's own clock, except ``processed_at``,
which is the committing process's. ``codec.py`` turns a record into bytes, ``transitions.py`` is
the table of what each call does to it.

``gc=False``: made by the hundred thousand, and never part of a cycle.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

TOKEN_BYTES = 12
FINGERPRINT_BYTES = 16


class Held(Struct, frozen=True, gc=False):
    """Claimed: ``token`` may forward the item until ``deadline``.

    ``barrier``: the rule announces a forward with ``sent`` first, so that a claim that is not
    ``sent`` was never forwarded. ``suspect``: an earlier owner's call may have had, or may still
    have, an effect; ``doubt_since`` is then when that doubt began, and no later claim restarts it.
    """

    token: bytes
    attempt: int
    deadline: int
    fingerprint: bytes | None
    barrier: bool = False
    sent: bool = False
    suspect: bool = False
    doubt_since: int = 0


class Doubt(Struct, frozen=True, gc=False):
    """An attempt ended and nobody knows its outcome."""

    since: int
    attempt: int
    fingerprint: bytes | None


class Done(Struct, frozen=True, gc=False):
    """Committed. ``result`` is None where it has no body (too large, or its lookup failed);
    ``template``: it is not the service's own result, and a real one may replace it once.
    ``sealed``: the result is encrypted; only the store that encrypts it sees this."""

    token: bytes
    processed_at: int
    fingerprint: bytes | None
    result: bytes | None
    template: bool = False
    sealed: bool = False


class Foreign(Struct, frozen=True):
    """A value of a version that this process does not know: busy, never overwritten."""


Record = Held | Doubt | Done | Foreign


# ---- what a call asks -------------------------------------------------------------------------


LEEWAY: Final = 250
"""How much longer a claim is kept than its terms say, in ms: the commit that follows it so soon
finds an expiry that does for the committed record too, which is then kept longer by as much at
most."""


class Terms(Struct, frozen=True):
    """What a rule says of its records; all times in milliseconds."""

    lease: int
    retention: int
    detects_duplicates: bool
    has_lookup: bool = False
    settles_within: int | None = None

    @property
    def doubt_retention(self) -> int:
        """Of a claim, and of the doubt that a crash makes of it: without detection the longer of
        retention and 7 days."""
        kept = self.retention if self.detects_duplicates else max(self.retention, 7 * 86_400_000)
        return kept + LEEWAY


class Sent(Struct, frozen=True):
    """About to forward: mine -> flag ``sent`` and a fresh deadline."""


class Extend(Struct, frozen=True):
    """Mine -> a later deadline."""


class Commit(Struct, frozen=True, gc=False):
    """The item's effect happened. ``fingerprint`` None: adopted without knowing its content."""

    fingerprint: bytes | None
    processed_at: int
    result: bytes | None
    template: bool = False
    sealed: bool = False


class Release(Struct, frozen=True):
    """The item's effect did not happen in this call."""


class MarkDoubt(Struct, frozen=True, gc=False):
    """Nobody knows whether the item's effect happened."""

    fingerprint: bytes | None


class Forget(Struct, frozen=True):
    """An operator's word that the item may be done again. A record that is done, or a claim that
    is live, goes only with ``force``."""

    force: bool = False


Settlement = Sent | Extend | Commit | Release | MarkDoubt | Forget


# ---- what is answered: a claim of what is done gets the ``Done`` itself ------------------------


class Won(Struct, frozen=True, gc=False):
    """The item is mine. ``forwardable`` False: a suspect whose upstream does not detect
    duplicates and whose doubt is younger than ``settles_within``: look it up, never forward."""

    attempt: int
    suspect: bool = False
    forwardable: bool = True
    doubt_age: int = 0


class Mismatch(Struct, frozen=True):
    """The key was used with other content. Carries no result."""


class Busy(Struct, frozen=True, gc=False):
    """Another owner holds it for ``left`` more milliseconds."""

    left: int


class InDoubt(Struct, frozen=True, gc=False):
    """Nobody knows its outcome, and this rule has no way to find out."""

    age: int


ClaimReply = Won | Mismatch | Done | Busy | InDoubt


class Applied(Struct, frozen=True):
    """Done as asked."""


class Lost(Struct, frozen=True):
    """Not mine any more: nothing was changed, or only a suspect flag."""


class Stands(Struct, frozen=True, gc=False):
    """Commit: an earlier commit stands, and is the result to answer with."""

    record: Done


class Conflict(Struct, frozen=True):
    """Commit: an earlier commit stands, with other content. Carries no result."""


SettleReply = Applied | Lost | Stands | Conflict
