"""docs/writing-rules.md says what the code does: every field, every default, both examples."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.cli.rehearsal import answer_to
from proxy.core.upstream import Reply
from proxy.exchange import Exchange
from rules.fields import FILE
from rules.load import parse_rules
from rules.load_conditions import definitions
from rules.load_kinds import REQUIRED, Field
from rules.match import RuleSet
from rules.model import Batch
from rules.request import read_batch

TEXT = (Path(__file__).parents[2] / "docs/writing-rules.md").read_text()


def rows(fields: dict[str, Field], path: str = "") -> Iterator[str]:
    """The rows of the reference, as they must stand in the page."""
    for name, field in fields.items():
        full = f"{path}.{name}" if path else name
        yield f"| `{full}` | {field.kind.words} | {default(field)} | {field.says} |"
        inner = dict(field.kind.fields)
        yield from rows(inner, "" if full == "rules" else full)


def default(field: Field) -> str:
    if field.default_words:
        return field.default_words
    if field.default is REQUIRED:
        return "required"
    if field.kind.words == "section":
        return ""
    return f"`{json.dumps(field.default)}`"


def test_the_reference_is_the_table_of_fields() -> None:
    wanted = list(rows(dict(FILE.fields)))
    part = TEXT.split("## Every field", 1)[1].split("\n## ", 1)[0]
    found = [line for line in part.splitlines() if line.startswith("| `")]
    assert found == wanted, "it must be:\n" + "\n".join(wanted)


def test_the_parts_of_a_condition() -> None:
    said = {
        name: one["description"]
        for definition in definitions().values()
        for name, one in definition["properties"].items()
    }
    part = TEXT.split("## Conditions", 1)[1].split("\n## ", 1)[0]
    found = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", part, re.MULTILINE))
    assert found == said


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


EXAMPLES = re.split(r"^## Example: ", TEXT, flags=re.MULTILINE)[1:]


def loaded(text: str) -> RuleSet:
    return parse_rules([("page", text)])


def test_every_rules_file_in_the_page_loads() -> None:
    files = [block for block in blocks(TEXT, "yaml") if block.startswith("version:")]
    assert len(files) >= 3
    for text in files:
        assert loaded(text).rules


def test_every_snippet_is_part_of_a_rule() -> None:
    """What is shown of one section alone is right where it is put into a whole rule."""
    (whole,) = (b for b in blocks(TEXT.split("## Example")[0], "yaml") if b.startswith("version:"))
    snippets = [b for b in blocks(TEXT, "yaml") if not b.startswith("version:")]
    assert len(snippets) >= 3
    for snippet in snippets:
        section = snippet.split(":", 1)[0]
        inner = "".join(f"    {line}\n" for line in snippet.splitlines())
        without = re.sub(rf"^    {section}:.*\n(?:      .*\n)*", "", whole, flags=re.MULTILINE)
        assert without != whole
        assert loaded(without + inner).rules


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.split("\n")[0])
async def test_a_worked_example_comes_out_as_shown(example: str) -> None:
    (file,) = blocks(example, "yaml")
    request, response, wanted = blocks(example, "json")
    (rule,) = loaded(file).rules
    batch = read_batch(rule, request.strip().encode())
    assert isinstance(batch, Batch)
    exchange = Exchange(rule, batch, rule.match.method, rule.match.path, (), ("acme",), "page")
    answer = await answer_to(exchange, Reply(200, (), response.strip().encode()))
    assert answer.status == 200
    assert same_time(json.loads(answer.body)) == same_time(json.loads(wanted))


def same_time(value: Any) -> Any:
    if isinstance(value, list):
        return [same_time(inner) for inner in value]
    if isinstance(value, dict):
        times = {name: "some time" for name in ("processedAt", "bookedAt") if name in value}
        return {name: same_time(inner) for name, inner in value.items()} | times
    return value


def test_there_are_two_examples() -> None:
    assert len(EXAMPLES) == 2
