"""The kinds of value that a field can have. Law: one Kind both reads a value and is its schema.

A kind's reader gets an ``At`` (a node of the file, its path, the list of mistakes) and gives the
value twice: as Python uses it, and plain: as JSON, in one normal form, so that ``90s`` and
``1.5m`` compare equal. What cannot be read is noted once, and UNUSABLE stands in its place.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NoReturn

from rules.load_yaml import Node, node_of
from rules.mistakes import Mistake

Schema = dict[str, Any]


UNUSABLE: Final = object()
"""A value whose mistake is noted: what depends on it is not checked."""


class UnusableError(Exception):
    """The value cannot be used; the mistake is noted already."""


@dataclass(frozen=True, slots=True)
class Got:
    value: Any
    plain: Any


@dataclass(frozen=True, slots=True)
class At:
    """A place in a file. ``detects`` is the rule's ``upstream.detects_duplicates``, which some
    defaults depend on."""

    file: str
    node: Node
    path: str
    mistakes: list[Mistake]
    detects: bool = True

    def child(self, name: str, node: Node) -> At:
        return replace(self, node=node, path=f"{self.path}.{name}" if self.path else name)

    def items(self) -> list[At]:
        """The elements, of a list; a mistake for anything else."""
        if not isinstance(self.node.value, list):
            self.wrong(f"expected a list, got {described(self.node)}")
        return [
            replace(self, node=node, path=f"{self.path}[{i}]")
            for i, node in enumerate(self.node.value)
        ]

    def members(self) -> dict[str, Node]:
        """The members, of a mapping; a mistake for anything else."""
        if not isinstance(self.node.value, dict):
            self.wrong(f"expected a mapping, got {described(self.node)}")
        return self.node.value

    def note(self, message: str, name: str = "", line: int = 0) -> None:
        path = ".".join(part for part in (self.path, name) if part)
        self.mistakes.append(Mistake(self.file, line or self.node.line, path, message))

    def wrong(self, message: str) -> NoReturn:
        self.note(message)
        raise UnusableError


@dataclass(frozen=True, slots=True)
class Kind:
    """``words`` name it in the documentation; ``schema`` is its JSON Schema; ``fields`` are those
    of a mapping, of all its forms."""

    words: str
    schema: Schema
    reader: Callable[[At], Got]
    fields: Mapping[str, Field] = field(default_factory=dict)

    def read(self, at: At) -> Got:
        """The value, or UNUSABLE once its mistakes are noted."""
        try:
            return self.reader(at)
        except UnusableError:
            return Got(UNUSABLE, None)


REQUIRED: Final = object()


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a section. ``default`` is in the file's own notation; a default that depends
    on whether the service detects duplicates is a function of that. ``default_words`` say it
    where the notation would be too long."""

    kind: Kind
    default: Any = REQUIRED
    says: str = ""
    default_words: str = ""

    def default_for(self, detects: bool) -> Any:
        return self.default(detects) if callable(self.default) else self.default


def described(node: Node) -> str:
    """What stands there, for a message."""
    value = node.value
    if value is None:
        return "nothing"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    return repr(value) if isinstance(value, str) else str(value).lower()


# ---- mappings ---------------------------------------------------------------------------------


def present(at: At, names: Mapping[str, Kind]) -> dict[str, Got]:
    """The members that stand there, each read; a name that is not in ``names`` is a mistake."""
    made: dict[str, Got] = {}
    for name, node in at.members().items():
        if name in names:
            made[name] = names[name].read(at.child(name, node))
        else:
            at.note(_unknown(name, names), name, node.line)
    return made


def _unknown(name: str, names: Mapping[str, Kind]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"unknown field; did you mean {near[0]!r}?" if near else "unknown field"


def section(fields: Mapping[str, Field]) -> Kind:
    """A mapping with these fields and no others; the value is a dict that has all of them."""
    kinds = {name: one.kind for name, one in fields.items()}

    def read(at: At) -> Got:
        got = present(at, kinds)
        for name, one in fields.items():
            if name in got:
                continue
            if one.default is REQUIRED:
                at.note("is required", name)
                got[name] = Got(UNUSABLE, None)
            else:
                default = node_of(one.default_for(at.detects), at.node.line)
                got[name] = one.kind.read(at.child(name, default))
        return Got(
            {name: got[name].value for name in fields}, {name: got[name].plain for name in fields}
        )

    return Kind("section", _section_schema(fields), read, fields)


def _section_schema(fields: Mapping[str, Field]) -> Schema:
    properties = {}
    for name, one in fields.items():
        extra: Schema = {"description": one.says} if one.says else {}
        has_default = one.default is not REQUIRED and not callable(one.default)
        if has_default and not _needs_some(one):
            extra["default"] = one.default
        properties[name] = {**one.kind.schema, **extra}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": [n for n, f in fields.items() if f.default is REQUIRED or _needs_some(f)],
    }


def _needs_some(one: Field) -> bool:
    """A section that may be left out only in name: something in it is required."""
    return one.default == {} and bool(one.kind.schema.get("required"))


# ---- combinators ------------------------------------------------------------------------------


def nullable(kind: Kind) -> Kind:
    def read(at: At) -> Got:
        return Got(None, None) if at.node.value is None else kind.reader(at)

    if set(kind.schema) <= {"type", "minimum", "maximum", "pattern", "minLength", "items"}:
        schema: Schema = {**kind.schema, "type": [kind.schema["type"], "null"]}
    else:
        schema = {"anyOf": [kind.schema, {"type": "null"}]}
    return Kind(f"{kind.words}, or null", schema, read, kind.fields)


def list_of(kind: Kind, minimum: int = 0, words: str = "") -> Kind:
    """A list without repeats; the value is a tuple."""

    def read(at: At) -> Got:
        got = [kind.read(item) for item in at.items()]
        if len(got) < minimum:
            at.wrong(f"expected at least {minimum}")
        if any(g.value is UNUSABLE for g in got):
            raise UnusableError
        plain = [g.plain for g in got]
        texts = [repr(one) for one in plain]  # as text: True equals 1 in Python
        for i, text in enumerate(texts):
            if text in texts[:i]:
                at.wrong(f"given twice: {text}")
        return Got(tuple(g.value for g in got), plain)

    schema: Schema = {"type": "array", "items": kind.schema, "uniqueItems": True}
    if minimum:
        schema["minItems"] = minimum
    return Kind(words or f"list of {kind.words}", schema, read)
