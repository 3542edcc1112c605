"""Which rule a request meets, whose keys it brings, which mode applies.

Law: pure; paths are compared raw, so that ``/a%2Fb`` is never taken for ``/a/b``. What a scope
value stands for is decoded, and what cannot be decoded is absent: two different byte strings must
never become one scope.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import orjson

from rules.mistakes import Mistake, Place
from rules.model import Mode, Rule, ScopePart
from rules.pointer import Pointer

Params = dict[str, str]
_SURROGATE: Final = re.compile(f"[{chr(0xD800)}-{chr(0xDFFF)}]")


@dataclass(frozen=True, slots=True)
class Absent:
    """The request has no value for this part of the scope: it is not deduplicated."""

    part: str


@dataclass(frozen=True, slots=True)
class Repeated:
    """The request has more than one value for this part of the scope: 400."""

    part: str


class _Template:
    """A path of which some segments are ``{name}``."""

    __slots__ = ("segments",)

    def __init__(self, path: str) -> None:
        self.segments: Final = path.split("/")

    @property
    def has_parameters(self) -> bool:
        return any(segment.startswith("{") for segment in self.segments)

    def match(self, parts: Sequence[str]) -> Params | None:
        if len(parts) != len(self.segments):
            return None
        params: Params = {}
        for segment, part in zip(self.segments, parts, strict=True):
            if segment.startswith("{"):
                if not part:
                    return None
                params[segment[1:-1]] = part
            elif segment != part:
                return None
        return params


@dataclass(frozen=True)
class RuleSet:
    """The rules of one moment, in order. ``digest`` tells two contents apart, whatever their
    layout and comments; ``places`` says where each rule stands."""

    rules: tuple[Rule, ...] = ()
    places: Mapping[str, Place] = field(default_factory=dict, compare=False)
    warnings: tuple[Mistake, ...] = field(default=(), compare=False)
    digest: str = field(init=False)
    _table: Mapping[str, Sequence[tuple[Rule, _Template]]] = field(
        init=False, repr=False, compare=False
    )
    _exact: Mapping[str, Mapping[str, Sequence[tuple[Rule, Params]]]] = field(
        init=False, repr=False, compare=False
    )
    """By method and path, for the methods whose paths all have no parameters."""

    def __post_init__(self) -> None:
        table: dict[str, list[tuple[Rule, _Template]]] = {}
        for rule in self.rules:
            table.setdefault(rule.match.method, []).append((rule, _Template(rule.match.path)))
        object.__setattr__(self, "_table", table)
        exact: dict[str, dict[str, list[tuple[Rule, Params]]]] = {}
        for method, rules in table.items():
            if not any(template.has_parameters for _, template in rules):
                paths = exact.setdefault(method, {})
                for rule, _ in rules:
                    paths.setdefault(rule.match.path, []).append((rule, {}))
        object.__setattr__(self, "_exact", exact)
        text = orjson.dumps([[r.name, r.source] for r in self.rules], option=orjson.OPT_SORT_KEYS)
        object.__setattr__(self, "digest", hashlib.blake2b(text, digest_size=8).hexdigest())

    def candidates(self, method: str, raw_path: str) -> Sequence[tuple[Rule, Params]]:
        """The rules of this method and path, in order, with what ``{name}`` stands for. The first
        whose ``where`` holds handles the request; the caller judges that, it has the body."""
        paths = self._exact.get(method)
        if paths is not None:
            return paths.get(raw_path, ())
        of_method = self._table.get(method)
        if not of_method:
            return []
        parts = raw_path.split("/")
        found = [(rule, template.match(parts)) for rule, template in of_method]
        return [(rule, params) for rule, params in found if params is not None]

    def named(self, name: str) -> Rule | None:
        return next((rule for rule in self.rules if rule.name == name), None)


# ---- scope ------------------------------------------------------------------------------------


def scope_values(
    rule: Rule,
    headers: Sequence[tuple[str, str]],
    raw_query: str,
    path_params: Mapping[str, str],
    claims: Mapping[str, Any] | None,
) -> tuple[str, ...] | Absent | Repeated:
    """The values of the rule's scope in this request, in the rule's order; none where it is
    global. ``claims`` are those of the request's token, None where it has none to rely on."""
    values: list[str] = []
    for part in rule.scope or ():
        if part.kind == "header":
            given = [
                value.strip(" \t") for name, value in headers if name.lower() == part.name.lower()
            ]
        elif part.kind == "query":
            given = _query_values(raw_query, part.name)
        elif part.kind == "path":
            given = [path_params[part.name]] if part.name in path_params else []
        else:
            given = _claim_values(part, claims)
        if len(given) > 1:
            return Repeated(part_text(part))
        value = given[0] if given else ""
        if part.kind in ("query", "path"):
            value = _decoded(value, plus=part.kind == "query")
        if not value or not _is_text(value):
            return Absent(part_text(part))
        values.append(value)
    return tuple(values)


def part_text(part: ScopePart) -> str:
    """The part as the rules file writes it."""
    return f"{part.kind}:{part.name}"


def _query_values(raw_query: str, name: str) -> list[str]:
    pairs = [pair.partition("=") for pair in raw_query.split("&")]
    return [value for key, _, value in pairs if _decoded(key, plus=True) == name]


def _claim_values(part: ScopePart, claims: Mapping[str, Any] | None) -> list[str]:
    value = Pointer(part.name).get(dict(claims or {}))
    if isinstance(value, str):
        return [value]
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return [str(value)] if is_number else []


def _decoded(raw: str, plus: bool) -> str:
    """Percent-decoded; empty where the result is not UTF-8."""
    try:
        return unquote_to_bytes(raw.replace("+", " ") if plus else raw).decode()
    except UnicodeError:
        return ""


def _is_text(value: str) -> bool:
    """Not, where header bytes that are no UTF-8 were carried over as lone surrogates."""
    return value.isascii() or _SURROGATE.search(value) is None


class InForce:
    """The rules for a request that begins."""

    __slots__ = ("_rules",)

    def __init__(self) -> None:
        self._rules: RuleSet | None = None

    def now(self) -> RuleSet:
        """Raises RuntimeError before the first ``change``."""
        if self._rules is None:
            raise RuntimeError("the rules are not loaded yet")
        return self._rules

    def change(self, rules: RuleSet) -> None:
        self._rules = rules


# ---- mode -------------------------------------------------------------------------------------

_WHOLE: Final = 2**64
_MODES: Final = frozenset(str(mode) for mode in Mode)


def mode_for(rule: Rule, scope: Sequence[str], override: str | None) -> Mode:
    """The mode for this scope. ``override`` is the override header's value, None where there is
    none or its sender is not trusted; what is no mode's name is ignored."""
    if override is not None and override in _MODES:
        return Mode(override)
    percent = rule.rollout.percent
    if percent >= 100 or _share(rule.name, scope) < percent:
        return rule.mode
    return rule.rollout.rest


def _share(name: str, scope: Sequence[str]) -> float:
    """Where in [0, 100) this scope stands: the same in every process and for every percent."""
    digest = hashlib.blake2b(digest_size=8)
    for text in (name, *scope):
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(4, "big") + data)
    return int.from_bytes(digest.digest(), "big") * 100 / _WHOLE
