"""What the demo prints. Law: it reads well at 80 columns, without colour and without a terminal.

Lines to copy are printed as they are: never wrapped, never coloured.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from examples.legacy.payments import Payment
from proxy.demo.script import PATH, Direct, Reply, Scene, body, outcome
from proxy.demo.stage import TENANT, Stage

WIDEST = 110
SAID = {201: "booked", 409: "duplicate", 422: "invalid"}


def make_console() -> Console:
    """At most ``WIDEST`` columns: longer lines are hard to read side by side."""
    console = Console(highlight=False)
    return Console(highlight=False, width=min(console.width, WIDEST))


def introduce(console: Console, stage: Stage) -> None:
    console.print()
    console.print(
        "A payments service with a batch endpoint that is [bold]all or nothing[/]: one payment "
        "that was booked before, or one bad payment, and the whole batch fails without a word "
        "on which it was. Two copies of it run here, each with a database of its own:"
    )
    console.print()
    places = Table.grid(padding=(0, 2))
    places.add_row("", "straight to the service", Text(stage.alone.url, "bold"))
    places.add_row("", "through the proxy", Text(stage.proxy, "bold"))
    console.print(places)
    console.print()
    console.print("Both get the same three batches.")


def show(console: Console, scene: Scene) -> None:
    """One batch, side by side."""
    console.print()
    console.print(Text(f"{scene.number}  {scene.batch.title}", "bold"))
    table = Table(box=box.ROUNDED, expand=True, show_footer=True)
    direct, proxied = scene.direct, scene.proxied
    asked = f"{proxied.calls} to the service" + (
        f" + {proxied.lookups} lookup" if proxied.lookups else ""
    )
    table.add_column("", footer="requests", width=8)
    table.add_column("straight to the service", footer=f"{direct.requests}", ratio=30)
    table.add_column("through the proxy", footer=f"1 ({asked})", ratio=33)
    table.add_row("batch", _whole(direct), _status(proxied.reply.status, "an answer for each item"))
    table.add_section()
    for place, payment in enumerate(scene.batch.payments):
        result = proxied.results[place] if place < len(proxied.results) else {}
        table.add_row(payment.key, _straight(direct, place), _through(result))
    console.print(table)


def quote(console: Console, scene: Scene, keys: Sequence[str]) -> None:
    """Some results of a batch, as the client reads them."""
    console.print()
    console.print("Two of these results, as the client of the proxy reads them:")
    for payment, result in zip(scene.batch.payments, scene.proxied.results, strict=False):
        if payment.key in keys:
            text = json.dumps(result, ensure_ascii=False)
            lines = textwrap.wrap(text, console.width - 4, subsequent_indent=" ")
            _copy(console, textwrap.indent("\n".join(lines), "  "))


def sum_up(console: Console, scenes: Sequence[Scene], good: bool) -> None:
    """The totals, and whether all came out as promised."""
    direct = sum(scene.direct.requests for scene in scenes)
    calls = sum(scene.proxied.calls for scene in scenes)
    lookups = sum(scene.proxied.lookups for scene in scenes)
    saved = direct - len(scenes)
    table = Table(box=box.ROUNDED, expand=True)
    table.add_column("all three batches", ratio=33)
    table.add_column("straight", ratio=12)
    table.add_column("through the proxy", ratio=22)
    table.add_row("requests that the client made", str(direct), str(len(scenes)))
    table.add_row("calls that the service had", str(direct), f"{calls} + {lookups} lookup")
    known = sum(_ids(reply) for s in scenes for reply in (*s.direct.whole, *s.direct.alone))
    items = sum(len(scene.batch.payments) for scene in scenes)
    with_id = sum(_ids(scene.proxied.reply) for scene in scenes)
    table.add_row("items answered with their id", f"{known} of {items}", f"{with_id} of {items}")
    console.print()
    console.print(table)
    console.print()
    if good:
        console.print(
            Text.assemble(
                ("✓ ", "green"),
                (f"{saved} client retries saved. ", "bold green"),
                "Each payment is in its table once; order, ids and bytes are the service's own.",
            )
        )
    else:
        console.print(Text("✗ This did not come out as promised.", "bold red"))


def what_next(console: Console, stage: Stage, again: str, keep: bool) -> None:
    """Lines to copy."""
    console.print()
    if keep:
        console.print("[bold]Try it.[/] Everything is running until you press Ctrl-C.")
    else:
        console.print("[bold]Try it.[/] Leave it running, and use a second terminal:")
        console.print()
        _copy(console, f"  {again} --keep")
        console.print()
        console.print("It prints these lines again, with the ports that it got.")
    again_and_new = (Payment("p-1", "ada", 1250), Payment("p-8", "bob", 20))
    steps = (
        ("An old payment and a new one, through the proxy:", _curl(stage.proxy, again_and_new)),
        ("The same, straight to the service:", _curl(stage.alone.url, again_and_new)),
        (
            "What the proxy counted:",
            f"  curl -s {stage.admin}/metrics | grep idemproxy_items_total",
        ),
    )
    for title, line in steps:
        console.print()
        console.print(title)
        _copy(console, line)
    console.print()


def _copy(console: Console, text: str) -> None:
    console.print(Text(text), soft_wrap=True)


def _curl(url: str, payments: Sequence[Payment]) -> str:
    items = ",\n    ".join(json.dumps(item) for item in body(payments)["payments"])
    return (
        f"  curl -si {url}{PATH} \\\n"
        f"    -H 'X-Tenant-Id: {TENANT}' -H 'Content-Type: application/json' \\\n"
        f"    -d '{{\"payments\": [\n    {items}]}}'"
    )


def _status(status: int, said: str) -> Text:
    style = "green" if status < 300 else "red"
    return Text.assemble((str(status), f"bold {style}"), " ", said)


def _whole(direct: Direct) -> Text:
    first, *more = direct.whole
    if not more:
        return _status(first.status, "all booked")
    tries = ", ".join(str(reply.status) for reply in more)
    said = _status(first.status, f"{SAID[first.status]}; nothing done")
    return said + Text(f"\ntried again: {tries}\nthen one by one:", "dim")


def _straight(direct: Direct, place: int) -> Text:
    if not direct.alone:
        results = direct.whole[0].body["results"]
        return _good("booked", results[place])
    reply = direct.alone[place]
    if reply.status < 300:
        return _good("booked", reply.body["results"][0])
    return _status(reply.status, SAID.get(reply.status, "failed"))


def _through(result: Mapping[str, Any]) -> Text:
    said = outcome(result)
    if said == "done":
        return _good("booked", result)
    if said == "again":
        return _good("done before", result, "cyan")
    message = str(result["error"]["message"])
    return Text.assemble(("✗ ", "red"), (said, "red"), f"\n  {message}")


def _good(said: str, result: Mapping[str, Any], style: str = "green") -> Text:
    return Text.assemble(("✓ ", style), (said, style), f" {result.get('id', '')}")


def _ids(reply: Reply) -> int:
    return sum("id" in result for result in reply.body.get("results", ()))
