"""One scrape of /metrics, as numbers. Law: pure; it reads the text format and knows no names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from proxy.metrics import PREFIX

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Scrape:
    """Samples by name (without the prefix) and labels."""

    samples: Mapping[str, Mapping[Labels, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, texts: Iterable[str]) -> Scrape:
        """Of one process or of several, added up. Raises ValueError for what is no scrape."""
        samples: dict[str, dict[Labels, float]] = defaultdict(lambda: defaultdict(float))
        for text in texts:
            for family in text_string_to_metric_families(text):
                for one in family.samples:
                    if one.name.startswith(PREFIX):
                        name = one.name.removeprefix(PREFIX)
                        samples[name][frozenset(one.labels.items())] += one.value
        return cls(samples)

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        wanted = labels.items()
        rows = self.samples.get(name, {})
        return sum(value for key, value in rows.items() if wanted <= dict(key).items())

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """The same, apart for each value of ``label``."""
        found: dict[str, float] = defaultdict(float)
        wanted = labels.items()
        for key, value in self.samples.get(name, {}).items():
            row = dict(key)
            if label in row and wanted <= row.items():
                found[row[label]] += value
        return dict(found)

    def since(self, earlier: Scrape) -> Scrape:
        """What counters and histograms gained; a process that began again counts from zero."""
        gained: dict[str, dict[Labels, float]] = {}
        for name, rows in self.samples.items():
            before = earlier.samples.get(name, {})
            gained[name] = {
                key: value - before.get(key, 0.0) if value >= before.get(key, 0.0) else value
                for key, value in rows.items()
            }
        return Scrape(gained)

    def quantile(self, name: str, q: float, **labels: str) -> float | None:
        """As Prometheus estimates it from the buckets; None without an observation."""
        buckets = {
            float(le): value for le, value in self.by(f"{name}_bucket", "le", **labels).items()
        }
        edges = sorted(buckets)
        if not edges or not buckets[edges[-1]]:
            return None
        rank = q * buckets[edges[-1]]
        low, below = 0.0, 0.0
        for edge in edges:
            if buckets[edge] >= rank:
                if edge == float("inf"):
                    return low
                inside = buckets[edge] - below
                return low + (edge - low) * ((rank - below) / inside if inside else 1.0)
            low, below = edge, buckets[edge]
        return low
