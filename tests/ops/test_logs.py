"""Log lines: one JSON object each, nothing secret, floods cut short, doubts never."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from proxy import logs
from proxy.observe import BatchReport

REPORT = BatchReport(
    rule="orders",
    mode="enforce",
    request_id="r-1",
    result="partial",
    status=200,
    outcomes={"new": 3, "replayed": 2},
    seconds=0.0123456789,
    upstream_seconds=0.01,
    waiting_seconds=0.0,
    upstream_calls=1,
    deliveries=("accepted",),
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
)


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers = list(root.handlers)
    loggers = [logging.getLogger(n) for n in (None, *logs.OURS, "proxy.audit", "aiohttp.access")]
    levels = [logger.level for logger in loggers]
    yield
    root.handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def written(form: str = "json", level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    logs.configure(level, form, stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def fail(error: Exception) -> None:
    raise error


def test_a_batch_is_one_json_line() -> None:
    stream = written()
    logs.Telling().batch(REPORT)
    (line,) = lines(stream)
    assert line["rule"] == "orders"
    assert line["items"] == {"new": 3, "replayed": 2}
    assert line["seconds"] == 0.012346
    assert line["trace_id"] == REPORT.trace_id
    assert line["level"] == "info"
    assert line["time"].endswith("Z")
    assert "always" not in line


def test_a_batch_with_an_unknown_outcome_is_a_warning() -> None:
    stream = written(level="warning")
    telling = logs.Telling()
    telling.batch(REPORT)
    telling.batch(replace(REPORT, outcomes={"unknown": 1}))
    assert [line["items"] for line in lines(stream)] == [{"unknown": 1}]


def test_text_is_for_people_and_escapes_what_could_forge_a_line() -> None:
    stream = written("text")
    logging.getLogger("proxy.x").info("hello", extra={"path": "/a\nFAKE \x1b[31m", "n": 1.5})
    (text,) = stream.getvalue().splitlines()
    assert "\\nFAKE \\x1b[31m" in text
    assert "n=1.5" in text


@pytest.mark.parametrize(
    "secret",
    [
        "redis://user:s3cret@host:6379/0",
        "Authorization: Bearer s3cret",
        'password="s3cret"',
        "x-api-key=s3cret",
        "Bearer s3cret",
    ],
)
@pytest.mark.parametrize("form", logs.FORMATS)
def test_credentials_are_cut_out(secret: str, form: str) -> None:
    stream = written(form)
    log = logging.getLogger("proxy.x")
    log.error("a message with %s in it", secret)
    log.error("a field", extra={"detail": secret})
    try:
        fail(ValueError(secret))
    except ValueError:
        log.exception("an exception")
    assert stream.getvalue().count("\n") == 3
    assert "s3cret" not in stream.getvalue()


def test_words_that_only_sound_secret_stay() -> None:
    assert logs.redacted("the token file is missing") == "the token file is missing"


def test_an_exception_shows_its_type_and_place() -> None:
    stream = written()
    try:
        fail(KeyError("k"))
    except KeyError:
        logging.getLogger("proxy.x").exception("broke")
    (line,) = lines(stream)
    assert line["error"] == "KeyError: 'k'"
    assert line["at"][0].startswith("test_logs.py:")


def test_repeated_errors_are_limited_and_counted_and_others_are_not() -> None:
    now = [0.0]
    limit = logs.RepeatLimit(most=3, window=10.0, now=lambda: now[0])

    def passes(message: str, level: int = logging.ERROR, **fields: Any) -> logging.LogRecord | None:
        record = logging.makeLogRecord(
            {"msg": message, "levelno": level, "name": "proxy.x", **fields}
        )
        return record if limit.filter(record) else None

    assert sum(passes("down") is not None for _ in range(8)) == 3
    assert passes("other") is not None
    assert all(passes("down", logging.INFO) for _ in range(5))
    assert all(passes("down", always=True) for _ in range(5))
    now[0] = 10.5
    again = passes("down")
    assert again is not None
    assert again.__dict__["left_out"] == 5
    later = passes("down")
    assert later is not None
    assert "left_out" not in later.__dict__


def test_every_doubt_is_a_line() -> None:
    stream = written()
    telling = logs.Telling()
    for index in range(50):
        telling.doubt("orders", "aa" * 16, "r-1", index)
    assert [line["index"] for line in lines(stream)] == list(range(50))


def test_configuring_twice_does_not_write_twice() -> None:
    stream = written()
    stream = written()
    logging.getLogger("proxy.x").info("once")
    assert len(lines(stream)) == 1


def test_the_audit_is_written_whatever_the_level() -> None:
    stream = written(level="error")
    logging.getLogger("proxy.audit").info("records released")
    logging.getLogger("proxy.x").info("chatter")
    assert [line["message"] for line in lines(stream)] == ["records released"]


def test_other_libraries_are_heard_from_warnings_on() -> None:
    stream = written(level="debug")
    logging.getLogger("aiohttp.server").info("chatter")
    logging.getLogger("aiohttp.server").warning("trouble")
    assert [line["message"] for line in lines(stream)] == ["trouble"]
