"""What became of one call with a part of a batch. Law: judged by the rule, and by nothing else."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from proxy.core.delivery import OF_FAULT, OF_VERDICT, Delivery
from proxy.core.upstream import NoReply, Reply
from proxy.run import Run
from rules.model import Align, Key, Verdict
from rules.response import Response, results, verdict

log = logging.getLogger("proxy.forward")


class Delivered:
    """What became of one call, which took ``seconds``. ``results``: one for each item, where it was
    accepted."""

    __slots__ = ("delivery", "reply", "response", "results", "seconds", "verdict")

    def __init__(
        self,
        delivery: Delivery,
        seconds: float,
        verdict: Verdict = Verdict.UNKNOWN,
        response: Response | None = None,
        reply: Reply | None = None,
        results: Sequence[bytes] = (),
    ) -> None:
        self.delivery = delivery
        self.seconds = seconds
        self.verdict = verdict
        self.response = response
        self.reply = reply
        self.results = results

    @property
    def retry_after_ms(self) -> int | None:
        """The service's Retry-After in whole seconds; its date form is not handed on."""
        for name, value in self.reply.headers if self.reply else ():
            if name.lower() == "retry-after" and value.strip().isdecimal():
                return int(value) * 1000
        return None


def read_reply(run: Run, items: Sequence[int], reply: Reply | NoReply, seconds: float) -> Delivered:
    """What the service's reply to a call with these items, which took ``seconds``, says of them."""
    if isinstance(reply, NoReply):
        # Its detail names addresses inside: for the log, and not for the client.
        log.warning(
            "the service gave no answer",
            extra={"rule": run.rule.name, "fault": str(reply.fault), "detail": reply.detail},
        )
        return Delivered(OF_FAULT[reply.fault], seconds)
    response = Response(reply.status, reply.body)
    said = verdict(run.rule, response)
    delivery = OF_VERDICT[said]
    matched: Sequence[bytes] | None = ()
    if delivery is Delivery.ACCEPTED:
        if run.rule.response.align is Align.LOOKUP:
            matched = [run.rule.response.accepted_item] * len(items)
        else:
            matched = results(run.rule, response, _keys_of(run, items))
        if matched is None:
            delivery = Delivery.UNKNOWN
    return Delivered(delivery, seconds, said, response, reply, matched or ())


def _keys_of(run: Run, items: Sequence[int]) -> Sequence[Key | None]:
    """Of which most rules need the number only."""
    if run.rule.response.align is not Align.KEY:
        return [None] * len(items)
    keys = run.exchange.batch.keys
    return [keys[i] for i in items]
