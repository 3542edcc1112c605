"""The Upstream interface without a task: a call, and who is told what became of it.

Law: as ``proxy.core.upstream``. Not compiled: a protocol that can be asked for at run time is an
interpreted class.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from proxy.core.upstream import Call, NoReply, Reply


class Told(Protocol):
    """Who is told what became of a call: once, in a later turn of the loop."""

    def set_result(self, result: Reply | NoReply, /) -> None: ...

    def set_exception(self, exception: BaseException, /) -> None: ...


@runtime_checkable
class PromptUpstream(Protocol):
    """An upstream that can also be called without a task."""

    def ask(self, call: Call, timeout: float, to: Told) -> bool:
        """The same call, of which ``to`` is told. False: not now, and nothing was sent."""
