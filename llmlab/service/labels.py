"""A label that all metrics of a process carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class Labelled(Collector):
    """What another collector gives, each sample with more labels."""

    def __init__(self, collector: Collector, labels: Mapping[str, str]) -> None:
        self._collector = collector
        self._labels = labels

    def collect(self) -> Iterator[Metric]:
        for family in self._collector.collect():
            family.samples = [
                one._replace(labels={**self._labels, **one.labels}) for one in family.samples
            ]
            yield family
