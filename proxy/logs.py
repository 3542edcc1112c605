"""Log lines: JSON for machines, text for people. Law: never a body, never a credential.

A line is a message that is always the same text, and fields: ``log.warning("store is down",
extra={"op": "claim"})``. What varies stands in fields, so that the rate limit and whoever searches
the log can tell lines of one kind from another.

Credentials do not get here because nobody logs headers or bodies; ``redacted`` is the second
fence, for URLs with a password and for texts of libraries' exceptions.
"""

from __future__ import annotations

import logging
import re
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Final, TextIO

import orjson

from proxy.metrics import Metrics
from proxy.observe import BatchReport, Observer
from rules.render import processed_at_text

ROOT: Final = "proxy"
OURS: Final = (ROOT, "idemproxy", "rules")
"""The tops of the loggers that ``LOG_LEVEL`` is for; of others only warnings are heard."""
_BATCHES: Final = logging.getLogger(f"{ROOT}.batch")
FORMATS: Final = ("json", "text")
LEVELS: Final = ("debug", "info", "warning", "error")

_USUAL: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "always",
}
_LONGEST: Final = 1000
_USERINFO: Final = re.compile(r"(?<=://)[^/\s@]+@")
_SECRET: Final = re.compile(
    r"(?i)\b((?:bearer|basic)\s+|"
    r"(?:authorization|password|token|secret|api[-_]?key|cookie)\"?\s*[:=]\s*)"
    r"(?!(?:bearer|basic)\s)\"?[^\s\",;]+"
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def redacted(text: str) -> str:
    """``text`` without the user part of URLs and without what follows words like ``token:``."""
    return _SECRET.sub(r"\1***", _USERINFO.sub("***@", text))[:_LONGEST]


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in vars(record).items():
        if name not in _USUAL and not name.startswith("_"):
            fields[name] = redacted(value) if isinstance(value, str) else value
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        frames = traceback.extract_tb(error.__traceback__)[-8:]
        fields["error"] = redacted(f"{type(error).__name__}: {error}")
        fields["at"] = [f"{f.filename.rsplit('/', 1)[-1]}:{f.lineno} {f.name}" for f in frames]
    return fields


def _stamp(created: float) -> str:
    return processed_at_text(int(created * 1000))


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, then the line's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _stamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redacted(record.getMessage()),
            **_fields(record),
        }
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class LineHandler(logging.StreamHandler[TextIO]):
    """JSON lines to a stream, and a short way for the line of each batch."""

    def write_batch(self, level: str, fields: dict[str, Any]) -> None:
        """One line, as ``JsonLines`` makes it."""
        head = {"time": _stamp(time.time()), "level": level, "logger": _BATCHES.name}
        line = orjson.dumps(
            {**head, "message": "batch", **fields},
            option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS,
        )
        try:
            self.stream.write(line.decode())
            self.flush()
        except OSError:  # a full disk or a closed pipe stops no request
            self.handleError(logging.makeLogRecord({}))


class TextLines(logging.Formatter):
    """``12:00:00.123 INFO  message  name=value ...``; control characters are shown escaped."""

    def format(self, record: logging.LogRecord) -> str:
        pairs = "".join(f"  {k}={_plain(v)}" for k, v in _fields(record).items())
        head = f"{_stamp(record.created)[11:23]} {record.levelname:<7} {record.getMessage()}"
        return _CONTROL.sub(lambda c: repr(c[0])[1:-1], redacted(head) + pairs)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ",".join(f"{k}:{_plain(v)}" for k, v in value.items()) or "-"
    if isinstance(value, (list, tuple)):
        return ",".join(_plain(v) for v in value) or "-"
    text = str(value)
    return f'"{text}"' if " " in text or not text else text


class RepeatLimit(logging.Filter):
    """At most ``most`` warnings and errors of one kind in ``window`` seconds; the first line
    after that says how many were left out. Lines with ``always`` set, and lower levels, pass."""

    def __init__(
        self, most: int = 10, window: float = 10.0, now: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._most, self._window, self._now = most, window, now
        self._seen: dict[tuple[str, str], list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or record.__dict__.get("always"):
            return True
        now, kind = self._now(), (record.name, str(record.msg))
        state = self._seen.setdefault(kind, [now, 0.0])
        if now - state[0] >= self._window:
            left_out = int(state[1]) - self._most
            if left_out > 0:
                record.__dict__["left_out"] = left_out
            state[:] = [now, 0.0]
        state[1] += 1
        if len(self._seen) > 1000:  # messages are constants; only a foreign logger can do this
            self._seen.clear()
        return state[1] <= self._most


def configure(level: str = "info", form: str = "json", stream: TextIO | None = None) -> None:
    """Log to ``stream`` (standard error). Idempotent; a second call replaces the first."""
    out = stream or sys.stderr
    handler = logging.StreamHandler(out) if form == "text" else LineHandler(out)
    handler.setFormatter(TextLines() if form == "text" else JsonLines())
    handler.addFilter(RepeatLimit())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())
    # Who changed a record is written down whatever else is.
    logging.getLogger(f"{ROOT}.audit").setLevel(logging.INFO)
    # aiohttp's own tracebacks of broken clients' requests say nothing that ours do not.
    logging.getLogger("aiohttp.access").setLevel(logging.CRITICAL)


class BatchLog(Observer):
    """One line a batch, one a doubt, one a conflict; then tells the next class in line."""

    def batch(self, report: BatchReport) -> None:
        super().batch(report)
        troubled = "unknown" in report.outcomes or "unavailable" in report.outcomes
        level = logging.WARNING if troubled else logging.INFO
        if not _BATCHES.isEnabledFor(level):
            return
        fields = _of_batch(report)
        root = logging.getLogger()
        if len(root.handlers) == 1 and type(root.handlers[0]) is LineHandler:
            # One line for every request: past the machinery, which costs a tenth of a small one.
            root.handlers[0].write_batch(logging.getLevelName(level).lower(), fields)
        else:
            _BATCHES.log(level, "batch", extra={**fields, "always": True})

    def doubt(self, rule: str, digest: str, request_id: str, index: int) -> None:
        super().doubt(rule, digest, request_id, index)
        fields = {"rule": rule, "digest": digest, "request_id": request_id, "index": index}
        _BATCHES.error("outcome unknown", extra={**fields, "always": True})

    def passed_through(self, rule: str, reason: str) -> None:
        super().passed_through(rule, reason)
        _BATCHES.debug("passed through", extra={"rule": rule, "reason": reason})

    def limit(self, name: str) -> None:
        super().limit(name)
        _BATCHES.warning("limit reached: %s", name)

    def commit_conflict(self, rule: str) -> None:
        super().commit_conflict(rule)
        _BATCHES.warning("committed before with other content", extra={"rule": rule})


def _of_batch(report: BatchReport) -> dict[str, Any]:
    """A batch line's own fields; the request id is the one text that a client can choose."""
    fields = {
        "rule": report.rule,
        "mode": report.mode,
        "request_id": redacted(report.request_id),
        "result": report.result,
        "status": report.status,
        "items": dict(report.outcomes),
        "seconds": round(report.seconds, 6),
        "upstream_seconds": round(report.upstream_seconds, 6),
        "waiting_seconds": round(report.waiting_seconds, 6),
        "upstream_calls": report.upstream_calls,
        "deliveries": report.deliveries,
    }
    if report.trace_id:
        fields["trace_id"] = report.trace_id
    return fields


class Telling(BatchLog, Metrics):
    """The observer of a running process: counts, and writes the lines."""
