"""Reading and relabelling what is in Prometheus's exposition format."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample


@dataclass(frozen=True)
class Samples:
    """What one page of metrics says."""

    families: tuple[Metric, ...]

    @classmethod
    def parse(cls, page: str) -> Samples:
        """Raises ValueError: this is no such page."""
        return cls(tuple(text_string_to_metric_families(page)))

    @classmethod
    def together(cls, pages: Iterable[Samples]) -> Samples:
        """Several pages, such as those of all processes of a deployment."""
        return cls(tuple(family for page in pages for family in page.families))

    def named(self, name: str) -> Iterator[Sample]:
        for family in self.families:
            for sample in family.samples:
                if sample.name == name:
                    yield sample

    def total(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name that have these labels."""
        return sum(one.value for one in self.named(name) if labels.items() <= one.labels.items())

    def by(self, label: str, name: str) -> dict[str, float]:
        """The sums for each value of a label."""
        sums: defaultdict[str, float] = defaultdict(float)
        for sample in self.named(name):
            sums[sample.labels.get(label, "")] += sample.value
        return dict(sums)

    def labels(self, name: str) -> Mapping[str, str]:
        """The labels of the first sample of this name; none if there is none."""
        return next((one.labels for one in self.named(name)), {})

    def labelled(self, labels: Mapping[str, str]) -> Samples:
        """The same with more labels; those that a sample has already stay as they are."""
        return Samples(
            tuple(
                _like(family, (s._replace(labels={**labels, **s.labels}) for s in family.samples))
                for family in self.families
            )
        )


def exposition(pages: Iterable[Samples]) -> str:
    """Several pages as one, each family once. The times at which counters were made, which
    Prometheus's text format has as families of their own, are left out."""
    merged: dict[str, Metric] = {}
    for page in pages:
        for family in page.families:
            if family.name.endswith("_created"):
                continue
            there = merged.setdefault(family.name, _like(family, ()))
            there.samples.extend(family.samples)
    return generate_latest(_Given(merged.values())).decode()


class _Given(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _like(family: Metric, samples: Iterable[Sample]) -> Metric:
    made = Metric(family.name, family.documentation, family.type)
    made.samples = list(samples)
    return made
