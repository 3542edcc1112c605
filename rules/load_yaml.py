"""YAML text to a tree that knows its lines. Law: YAML 1.2; it knows no field of the rules file.

ruamel.yaml composes the tree; scalars are read here, so that a name given twice and a reference
to itself are found with their lines, all of them at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.nodes import Node as YamlNode

from rules.mistakes import Mistake

Scalar = str | int | float | bool | None

MAX_NODES: Final = 100_000
"""Aliases of aliases can make a tree of any size from a short file."""

_TAG: Final = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Node:
    """``line`` is where the value's name stands, or the value itself in a list."""

    line: int
    value: Scalar | list[Node] | dict[str, Node]

    def plain(self) -> object:
        """The value as plain Python, JSON's types only."""
        if isinstance(self.value, dict):
            return {name: node.plain() for name, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def lines(self, name: str = "") -> Iterator[tuple[str, int]]:
        """The line of every field at or below this node, by dotted name."""
        yield name, self.line
        if isinstance(self.value, dict):
            for inner, node in self.value.items():
                yield from node.lines(f"{name}.{inner}" if name else inner)


def node_of(value: object, line: int) -> Node:
    """A tree for a value that is not in the file: a default."""
    if isinstance(value, dict):
        return Node(line, {name: node_of(inner, line) for name, inner in value.items()})
    if isinstance(value, list):
        return Node(line, [node_of(inner, line) for inner in value])
    assert value is None or isinstance(value, str | int | float | bool)  # noqa: S101 -- a typo here
    return Node(line, value)


def parse_yaml(file: str, text: str, mistakes: list[Mistake]) -> Node | None:
    """The document in ``text``; None where it cannot be read at all. Mistakes are appended."""
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = error.problem or error.context or "unreadable"
        mistakes.append(Mistake(file, mark.line + 1 if mark else 0, "", f"not YAML: {words}"))
        return None
    except (YAMLError, RecursionError, ValueError) as error:
        words = " ".join(str(error).split())
        mistakes.append(Mistake(file, 0, "", f"not YAML: {words or 'nested too deeply'}"))
        return None
    if root is None:
        mistakes.append(Mistake(file, 1, "", "the file is empty"))
        return None
    return _Converter(file, mistakes).convert(root, "", _line(root))


@dataclass(slots=True)
class _Converter:
    file: str
    mistakes: list[Mistake]
    open: set[int] = field(default_factory=set)
    """The nodes on the way from the root to here: one of them again is a cycle."""
    made: int = 0

    def convert(self, node: YamlNode, path: str, line: int) -> Node:
        self.made += 1
        if self.made == MAX_NODES:
            self._wrong(line, path, "the file is too large once its aliases are followed")
        if id(node) in self.open:
            self._wrong(line, path, "an alias that holds itself")
        if id(node) in self.open or self.made >= MAX_NODES:
            return Node(line, None)
        self.open.add(id(node))
        try:
            return Node(line, self._value(node, path, line))
        finally:
            self.open.discard(id(node))

    def _value(self, node: YamlNode, path: str, line: int) -> Scalar | list[Node] | dict[str, Node]:
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [
                self.convert(item, f"{path}[{i}]", _line(item)) for i, item in enumerate(node.value)
            ]
        try:
            return _scalar(node)
        except ValueError as error:
            self._wrong(line, path, f"cannot read {str(node.value)[:40]!r}: {error}")
            return None

    def _mapping(self, node: MappingNode, path: str) -> dict[str, Node]:
        made: dict[str, Node] = {}
        for key, value in node.value:
            line = _line(key)
            if not isinstance(key, ScalarNode) or key.tag not in (_TAG + "str", _TAG + "merge"):
                self._wrong(line, path, "a name must be a string; put it in quotes")
                continue
            name = str(key.value)
            inner = f"{path}.{name}" if path else name
            if key.tag == _TAG + "merge":
                self._wrong(line, inner, "merge keys are not supported; use an alias for a value")
            elif name in made:
                self._wrong(line, inner, f"given twice, first in line {made[name].line}")
            else:
                made[name] = self.convert(value, inner, line)
        return made

    def _wrong(self, line: int, path: str, message: str) -> None:
        self.mistakes.append(Mistake(self.file, line, path, message))


def _line(node: YamlNode) -> int:
    return int(node.start_mark.line) + 1


def _scalar(node: YamlNode) -> Scalar:
    text = str(node.value)
    kind = str(node.tag).removeprefix(_TAG)
    if kind in ("str", "timestamp"):  # JSON has no dates: 2026-01-01 is the text that it looks like
        return text
    if kind == "null":
        return None
    if kind == "bool":  # a %YAML 1.1 directive makes booleans of on, off, yes and no: we do not
        return {"true": True, "false": False}.get(text.lower(), text)
    if kind == "int":
        digits = text.replace("_", "")
        based = digits.lstrip("+-")[:2] in ("0x", "0o", "0b")
        return int(digits, 0 if based else 10)
    if kind == "float":
        number = float(text.lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
        if math.isfinite(number):
            return number
        raise ValueError("JSON has no such number")
    raise ValueError(f"the tag {node.tag} is not supported")
