"""Rules change whole or not at all: edits, ConfigMap swaps, SIGHUP, bad files, generations."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.reload import ACCEPTED, REFUSED, Reloader
from rules.match import RuleSet
from rules.mistakes import Mistake, RulesError
from tests.ops.desk import until

RULE = """\
  - name: {name}
    generation: {generation}
    match: {{path: /api/{name}}}
    mode: "{mode}"
    scope: ["header:X-Tenant-Id"]
    request: {{items: /items, key: [{key}]}}
    upstream: {{detects_duplicates: true}}
    response: {{results: /results}}
"""


def rules_text(
    name: str = "orders", mode: str = "off", key: str = "/id", generation: int = 1
) -> str:
    rule = RULE.format(name=name, mode=mode, key=key, generation=generation)
    return f"version: 1\nrules:\n{rule}"


class Watched:
    """A reloader over a real file, and what it told."""

    def __init__(
        self, path: Path, check: Callable[[RuleSet], list[Mistake]] = lambda _: []
    ) -> None:
        self.path = path
        self.changes: list[str] = []
        self.results: list[str] = []
        self.reloader = Reloader(
            str(path),
            on_change=lambda rules: self.changes.append(rules.digest),
            on_result=self.results.append,
            check=check,
            interval=0.01,
        )
        self.reloader.load()

    @property
    def mode(self) -> str:
        return self.reloader.current.rules[0].mode

    def write(self, text: str) -> None:
        self.path.write_text(text)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Run the poller until ``condition`` holds."""
        task = asyncio.create_task(self.reloader.run())
        try:
            await until(condition)
        finally:
            task.cancel()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(rules_text())
    return path


def test_a_bad_first_file_is_an_error(file: Path) -> None:
    file.write_text("version: 1\nrules: [{name: Bad}]\n")
    with pytest.raises(RulesError):
        Watched(file)


def test_nothing_is_in_force_before_the_first_load(file: Path) -> None:
    reloader = Reloader(str(file), on_change=lambda _: None, on_result=lambda _: None)
    with pytest.raises(RuntimeError):
        _ = reloader.current


async def test_a_plain_edit_is_taken_after_it_stood_still(file: Path) -> None:
    watched = Watched(file)
    assert await watched.reloader.check() is None
    watched.write(rules_text(mode="shadow"))
    assert await watched.reloader.check() is None, "the first look only notes it"
    assert watched.mode == "off"
    assert await watched.reloader.check() == ACCEPTED
    assert watched.mode == "shadow"
    assert await watched.reloader.check() is None
    assert watched.results == [ACCEPTED]
    assert len(watched.changes) == 2


async def test_half_a_file_is_never_taken(file: Path) -> None:
    """A file that is being written reads well halfway: with one rule less."""
    whole = rules_text() + RULE.format(name="second", generation=1, mode="off", key="/id")
    watched = Watched(file)
    watched.write(rules_text(mode="shadow"))
    assert await watched.reloader.check() is None
    watched.write(whole)
    assert await watched.reloader.check() is None
    assert await watched.reloader.check() == ACCEPTED
    assert len(watched.reloader.current.rules) == 2


async def test_sighup_takes_it_at_once(file: Path) -> None:
    watched = Watched(file)
    watched.write(rules_text(mode="enforce"))
    watched.reloader.trigger()
    await watched.until(lambda: watched.results == [ACCEPTED])
    assert watched.mode == "enforce"


async def test_a_configmap_swap_is_seen(tmp_path: Path) -> None:
    """The kubelet writes a new folder and renames one link over the other."""
    for number, mode in enumerate(("off", "shadow")):
        data = tmp_path / f"..{number}"
        data.mkdir()
        (data / "rules.yaml").write_text(rules_text(mode=mode))
    (tmp_path / "..data").symlink_to("..0")
    (tmp_path / "rules.yaml").symlink_to("..data/rules.yaml")
    watched = Watched(tmp_path)
    (tmp_path / "..new").symlink_to("..1")
    (tmp_path / "..new").rename(tmp_path / "..data")
    await watched.until(lambda: watched.mode == "shadow")
    assert watched.results == [ACCEPTED]


async def test_a_new_file_in_the_folder_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(rules_text())
    watched = Watched(tmp_path)
    (tmp_path / "b.yaml").write_text(rules_text("second"))
    await watched.until(lambda: len(watched.reloader.current.rules) == 2)


async def test_a_bad_file_is_refused_once_with_every_mistake(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(file)
    before = watched.reloader.current
    bad = rules_text().replace("key: [/id]", "key: [id]").replace("scope:", "skope:")
    watched.write(bad)
    with caplog.at_level(logging.ERROR, "proxy.reload"):
        looks = [await watched.reloader.check() for _ in range(5)]
    assert [look for look in looks if look] == [REFUSED]
    assert watched.reloader.current is before
    assert watched.results == [REFUSED]
    assert len(watched.changes) == 1
    errors = [line for line in caplog.records if line.levelno == logging.ERROR]
    assert len(errors) == len(watched.reloader.last.mistakes) >= 2
    assert watched.reloader.last.result == REFUSED
    assert any("key" in line for line in watched.reloader.last.mistakes)

    watched.write(rules_text(mode="shadow"))
    await watched.until(lambda: watched.mode == "shadow")
    assert watched.reloader.last.result == ACCEPTED


async def test_a_missing_file_is_refused_and_its_return_is_taken(file: Path) -> None:
    watched = Watched(file)
    watched.path.unlink()
    await watched.until(lambda: watched.results == [REFUSED])
    assert watched.mode == "off"
    watched.write(rules_text(mode="shadow"))
    await watched.until(lambda: watched.mode == "shadow")


async def test_a_change_of_meaning_needs_a_higher_generation(file: Path) -> None:
    watched = Watched(file)
    watched.write(rules_text(key="/ref"))
    await watched.until(lambda: watched.results == [REFUSED])
    assert watched.reloader.current.rules[0].request.key[0].text == "/id"
    assert any("generation" in line for line in watched.reloader.last.mistakes)
    watched.write(rules_text(key="/ref", generation=2))
    await watched.until(lambda: watched.results == [REFUSED, ACCEPTED])
    assert watched.reloader.current.rules[0].request.key[0].text == "/ref"


async def test_what_the_settings_forbid_is_refused_too(file: Path) -> None:
    def check(rules: RuleSet) -> list[Mistake]:
        return [Mistake("f", 1, "mode", "no")] if rules.rules[0].mode == "enforce" else []

    watched = Watched(file, check)
    watched.write(rules_text(mode="enforce"))
    await watched.until(lambda: watched.results == [REFUSED])
    watched.write(rules_text(mode="shadow"))
    await watched.until(lambda: watched.results == [REFUSED, ACCEPTED])


async def test_whoever_began_with_the_old_rules_keeps_them(file: Path) -> None:
    watched = Watched(file)
    snapshot = watched.reloader.current
    watched.write(rules_text(mode="enforce"))
    await watched.until(lambda: watched.mode == "enforce")
    assert snapshot.rules[0].mode == "off"
