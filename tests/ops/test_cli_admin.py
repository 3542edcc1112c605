"""records, report and top, as a person at a terminal uses them."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Callable

import pytest

from proxy.__main__ import main
from proxy.cli.scrape import Scrape
from tests.ops.conftest import Served
from tests.ops.test_logs import REPORT
from tests.ops.test_metrics import told

Capture = pytest.CaptureFixture[str]
Write = Callable[[str, str], str]


async def command(*words: str) -> int:
    """A whole command, beside the server that it asks."""
    return await asyncio.to_thread(main, list(words))


async def records(served: Served, *words: str) -> int:
    token = ("--url", served.url, "--token-file", served.token_file)
    return await command("records", words[0], *token, *words[1:])


ORDERS = ("--rule", "orders", "--scope", "a")
WHY = ("--why", "ticket 7", "--by", "ada")


async def test_get_shows_records_and_tells_by_its_exit_code(
    served: Served, capsys: Capture
) -> None:
    assert await records(served, "get", *ORDERS, "done", "doubt") == 0
    out = capsys.readouterr().out
    assert '{"id":9007199254740993,  "n":1.0}' in out
    assert "2026-09-21T14:13:20.000Z" in out
    assert await records(served, "get", *ORDERS, "done", "nowhere") == 1
    assert "absent" in capsys.readouterr().out


async def test_get_as_json_keeps_the_results_bytes(served: Served, capsys: Capture) -> None:
    assert await records(served, "get", "--json", *ORDERS, "done") == 0
    out = capsys.readouterr().out
    assert "9007199254740993" in out
    assert "1.0" in out
    assert json.loads(out)["records"][0]["state"] == "done"


async def test_keys_of_several_values_are_json(served: Served, capsys: Capture) -> None:
    words = ("get", "--rule", "transfers", "--json-keys", '["NL91",7]')
    assert await records(served, *words) == 1
    assert '["NL91",7]' in capsys.readouterr().out
    assert await records(served, "get", "--rule", "transfers", "--json-keys", "NL91") == 2


async def test_what_could_steer_the_terminal_is_shown(served: Served, capsys: Capture) -> None:
    assert await records(served, "get", *ORDERS, "[bold]\x1b[31m") == 1
    out = capsys.readouterr().out
    assert "[bold]\\x1b[31m" in out
    assert "\x1b" not in out


async def test_list_shows_what_is_doubtful_and_release_by_digest_clears_it(
    served: Served, capsys: Capture
) -> None:
    assert await records(served, "list", "--json") == 0
    (record,) = json.loads(capsys.readouterr().out)["records"]
    words = ("--rule", "orders", "--digest", record["digest"], *WHY)
    assert await records(served, "release", *words) == 0
    assert await records(served, "list") == 0
    assert "no such record" in capsys.readouterr().out


async def test_list_goes_through_all_pages(served: Served, capsys: Capture) -> None:
    await served.office.claim("orders", ("b",), *[(n,) for n in range(30_000)])
    assert await records(served, "list", "--state", "held", "--limit", "40000", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["records"]) == 30_001
    assert await records(served, "list", "--state", "held", "--limit", "10") == 0
    assert "raise --limit" in capsys.readouterr().out


async def test_release_needs_force_for_what_is_done(served: Served, capsys: Capture) -> None:
    assert await records(served, "release", *ORDERS, *WHY, "done", "doubt") == 1
    out = capsys.readouterr().out
    assert "needs force" in out
    assert await records(served, "release", "--force", *ORDERS, *WHY, "done") == 0
    assert await records(served, "get", *ORDERS, "done", "doubt") == 1


@pytest.mark.parametrize("source", ["inline", "file", "stdin"])
async def test_resolve_writes_the_exact_result(
    served: Served, write: Write, capsys: Capture, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    raw = '{"id": 9007199254740993, "n": 1.0}'
    given = {"inline": raw, "file": "@" + write("r.json", raw + "\n"), "stdin": "@-"}[source]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw.encode())))
    when = ("--processed-at", "2026-09-21T10:00:00Z")
    words = ("--outcome", "done", "--result", given, *when, *ORDERS, *WHY, "doubt")
    assert await records(served, "resolve", *words) == 0
    capsys.readouterr()
    assert await records(served, "get", *ORDERS, "doubt") == 0
    out = capsys.readouterr().out
    assert raw in out
    assert "2026-09-21T10:00:00.000Z" in out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("get", "--rule", "nothing", "k"), 1),
        (("get", "--rule", "orders", "k"), 2),
        (("get", *ORDERS), 2),
        (("resolve", *ORDERS, *WHY, "--outcome", "done", "--result", "{", "k"), 2),
        (("resolve", *ORDERS, *WHY, "--outcome", "done", "--result", "@/no/such", "k"), 2),
        (("resolve", *ORDERS, *WHY, "--outcome", "not-done", "--result", "{}", "k"), 2),
    ],
)
async def test_what_cannot_be_asked_is_said_on_stderr(
    served: Served, capsys: Capture, words: tuple[str, ...], code: int
) -> None:
    assert await records(served, *words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1


async def test_a_token_is_needed_and_must_be_right(
    served: Served, write: Write, capsys: Capture
) -> None:
    words = ("records", "get", "--url", served.url, *ORDERS, "done")
    assert await command(*words) == 2
    assert "token-file" in capsys.readouterr().err
    assert await command(*words, "--token-file", write("wrong", "guess")) == 1
    assert "401" in capsys.readouterr().err
    assert await command(*words, "--token-file", served.token_file) == 0


@pytest.mark.parametrize("name", ["records", "report", "top"])
async def test_a_proxy_that_does_not_answer_is_exit_code_1(
    served: Served, capsys: Capture, name: str
) -> None:
    url = ("--url", "http://127.0.0.1:9")
    extra = ("--token-file", served.token_file, *ORDERS, "k")
    words = {"records": ("records", "get", *url, *extra), "top": ("top", "--once", *url)}
    assert await command(*words.get(name, ("report", *url))) == 1
    assert "does not answer" in capsys.readouterr().err


# ---- report -----------------------------------------------------------------------------------


def watch(served: Served) -> None:
    shadow = served.office.metrics.shadow
    for would, items in (("new", 60), ("replayed", 35), ("echoed", 1), ("mismatch", 4)):
        shadow("transfers", would, items)
    for would in ("unreadable", "isolated", "isolated", "call_saved", "retry_saved"):
        shadow("transfers", would)


async def test_report_says_what_enforcing_would_have_done(served: Served, capsys: Capture) -> None:
    watch(served)
    assert await command("report", "--url", served.url) == 0
    lines = capsys.readouterr().out.splitlines()
    said = {line.strip().split("  ")[-1].strip(): line.split()[:2] for line in lines}
    assert said["items seen"][0] == "100"
    assert said["would have been answered from the store"] == ["35", "35.0%"]
    assert said["would have been refused: their key was used with other content"][0] == "4"
    assert said["rejected batches whose other items would have gone through"][0] == "2"
    assert said["retries of clients that would have succeeded"][0] == "1"


async def test_report_adds_up_several_proxies_and_saved_scrapes(
    served: Served, write: Write, capsys: Capture
) -> None:
    watch(served)
    saved = write("scrape", served.office.metrics.exposition()[1].decode())
    url = ("--url", served.url, "--url", served.url)
    for words in (url, ("--metrics", saved, "--metrics", saved)):
        assert await command("report", "--json", *words) == 0
        (row,) = json.loads(capsys.readouterr().out)
        assert row["items"] == 200
        assert row["replayed_share"] == 0.36
        assert row["unreadable_batches"] == 2
        assert row["would"] == {"new": 120, "replayed": 70, "echoed": 2, "mismatch": 8}
    assert await command("report", "--metrics", saved, *url) == 2
    assert await command("report", "--metrics", "/no/such") == 2


async def test_report_without_shadow_traffic_is_exit_code_1(
    served: Served, capsys: Capture
) -> None:
    assert await command("report", "--url", served.url) == 1
    assert "mode shadow" in capsys.readouterr().out


# ---- top --------------------------------------------------------------------------------------


async def test_top_once_shows_each_rule(served: Served, capsys: Capture) -> None:
    told(served.office.metrics)
    assert await command("top", "--once", "--url", served.url) == 0
    out = capsys.readouterr().out
    assert "orders" in out
    assert "shadow 50%" in out
    assert "the store does not answer" in out
    assert "█" in out


async def test_top_once_shows_a_refused_reload(served: Served, capsys: Capture) -> None:
    served.office.file.write_text("version: 2\n")
    await served.office.reloader.check(at_once=True)
    assert await command("top", "--once", "--url", served.url) == 0
    assert "rules refused at" in capsys.readouterr().out


async def test_top_refuses_an_interval_of_nothing(served: Served, capsys: Capture) -> None:
    assert await command("top", "--interval", "0", "--url", served.url) == 2
    assert "--interval" in capsys.readouterr().err


# ---- scrapes ----------------------------------------------------------------------------------


def scrape_of(*seconds: float) -> Scrape:
    from msgspec.structs import replace

    from proxy.metrics import Metrics

    metrics = Metrics()
    for one in seconds:
        metrics.batch(replace(REPORT, seconds=one, upstream_seconds=0.0))
    return Scrape.of([metrics.exposition()[1].decode()])


def test_quantiles_are_prometheus_own_estimate() -> None:
    assert scrape_of().quantile("request_duration_seconds", 0.5) is None
    many = scrape_of(*[0.002] * 50, *[0.2] * 50)
    assert many.quantile("request_duration_seconds", 0.5) == pytest.approx(0.0025)
    assert many.quantile("request_duration_seconds", 0.75) == pytest.approx(0.175)
    assert scrape_of(1e9).quantile("request_duration_seconds", 0.5) == 30.0


def test_a_process_that_began_again_counts_from_zero() -> None:
    more, fewer = scrape_of(0.1, 0.1, 0.1), scrape_of(0.1, 0.1)
    assert more.since(fewer).total("request_duration_seconds_count") == 1
    assert fewer.since(more).total("request_duration_seconds_count") == 2
