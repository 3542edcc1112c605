"""``check``, ``schema``, ``version``, and what is no command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from proxy import __version__
from proxy.__main__ import COMMANDS, main
from tests.rules.samples import LONG, SHORT, with_changes

CLAIM = {"scope": ["jwt:/sub"]}


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    file = tmp_path / "rules.yaml"
    file.write_text(SHORT)
    return file


def test_good_rules_are_shown_as_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(with_changes({**CLAIM, "name": "a", "mode": "enforce"}))
    (tmp_path / "b.yaml").write_text(LONG)
    assert main(["check", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    head, first, second, summary = out.splitlines()
    assert head.split() == ["NAME", "MODE", "GEN", "MATCH", "SCOPE", "DUPLICATES", "RESULTS"]
    assert first.split() == [
        "a",
        "enforce",
        "1",
        "POST",
        "/v1/orders",
        "jwt:/sub",
        "detected",
        "by",
        "position",
    ]
    assert second.split()[:5] == ["orders", "off", "12.5%,", "else", "shadow"]
    assert second.index("not detected") == first.index("detected")
    assert summary.startswith("2 rules, digest ")
    assert err.splitlines() == [
        line for line in err.splitlines() if line.startswith(f"warning: {tmp_path}/b.yaml:")
    ]
    assert "a client can write any claim" in err


def test_a_warning_never_fails(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(rules)]) == 0
    assert "header:authorization: a bearer token" in capsys.readouterr().err
    rules.write_text(with_changes(CLAIM))
    assert main(["check", str(rules)]) == 0
    assert capsys.readouterr().err == ""


def test_mistakes_one_a_line(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules.write_text(SHORT.replace("/id", "id").replace("results:", "result:"))
    assert main(["check", str(rules)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.removeprefix(f"{rules}:").split(": ")[:2] for line in err.splitlines()] == [
        ["6", "rules[0].request.key[0]"],
        ["8", "rules[0].response.result"],
        ["8", "rules[0].response.results"],
    ]


def test_a_lease_is_checked_against_the_store_timeout(
    rules: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rules.write_text(with_changes({**CLAIM, "lease": "11s"}))
    assert main(["check", str(rules)]) == 0
    assert main(["check", str(rules), "--store-timeout", "500ms"]) == 2
    assert "rules[0].lease: must be at least" in capsys.readouterr().err
    monkeypatch.setenv("IDEMPROXY_STORE_TIMEOUT", "500ms")
    assert main(["check", str(rules)]) == 2
    assert main(["check", str(rules), "--store-timeout", "soon"]) == 2
    assert "--store-timeout: expected a duration" in capsys.readouterr().err


def test_against_the_rules_in_force(
    rules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old.yaml"
    old.write_text(SHORT)
    assert main(["check", str(rules), "--against", str(old)]) == 0
    rules.write_text(with_changes({"request.key": ["/uid"]}))
    assert main(["check", str(rules)]) == 0
    capsys.readouterr()
    assert main(["check", str(rules), "--against", str(old)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "rules[0].request.key: changed" in err
    rules.write_text(with_changes({"request.key": ["/uid"], "generation": 2}))
    assert main(["check", str(rules), "--against", str(old)]) == 0
    assert main(["check", str(rules), "--against", str(tmp_path / "none.yaml")]) == 2


def test_schema_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "idemproxy rules"
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith(f"idemproxy {__version__} ")


@pytest.mark.parametrize("argv", [[], ["chek"], ["check"], ["check", "a", "b"], ["-x"]])
def test_wrong_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    assert "usage: idemproxy" in capsys.readouterr().err


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if line.startswith("  ")][2:] == [
        *COMMANDS
    ]


@pytest.mark.process
def test_a_reader_that_has_enough_is_no_traceback() -> None:
    command = f"{sys.executable} -m proxy schema | head -1"
    ended = subprocess.run(["sh", "-c", command], capture_output=True, check=True)
    assert (ended.stdout, ended.stderr) == (b"{\n", b"")


@pytest.mark.process
def test_check_starts_without_the_servers_libraries(rules: Path) -> None:
    code = (
        "import sys; from proxy.__main__ import main; main(sys.argv[1:]);"
        "sys.exit(bool({'aiohttp', 'redis', 'rich'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code, "check", str(rules)], check=False)
    assert ended.returncode == 0
