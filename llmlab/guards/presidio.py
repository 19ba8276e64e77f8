"""What Microsoft's Presidio finds (presidio-analyzer): the kind "presidio", loaded as a kind of any
other package is, by its entry point. It needs `pip install 'llmlab[presidio]'`, 250 MB.

Without a model it finds what has a pattern: phone numbers, passports, tax numbers and cards of many
countries. With a model of spaCy that is installed, names and places as well. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from llmlab.guards.base import About, Finding, Guard

Analyze = Callable[[str], list[Any]]


class Presidio(Guard):
    """
    Args:
        entities: Presidio's names of what to find, such as ["PHONE_NUMBER", "PERSON"].
        language: ISO 639-1; of its patterns, and of the model.
        score: how sure it has to be, from 0 to 1: of a pattern without check digits it is not.
        model: of spaCy, installed or a folder; "" for none.

    Raises:
        ValueError: the model is not there, or an entity is none that it can find.
        ImportError: Presidio is not installed.
    """

    longest, context, step = 256, 64, 32

    def __init__(
        self,
        entities: Sequence[str] = (),
        language: str = "en",
        score: float = 0.5,
        model: str = "",
    ) -> None:
        self._score = score
        entities = list(entities)
        self._analyze, known = (
            _with_model(model, language, entities) if model else _by_patterns(language, entities)
        )
        for one in entities:
            if one not in known:
                raise ValueError(f"entities: nothing here finds {one!r}, only {', '.join(known)}")
        self.labels = tuple(one.lower() for one in entities or known)

    def find(self, text: str, about: About) -> Iterable[Finding]:
        return [
            Finding(one.start, one.end, one.entity_type.lower())
            for one in self._analyze(text)
            if one.score >= self._score
        ]


def _by_patterns(language: str, entities: list[str]) -> tuple[Analyze, list[str]]:
    """Its recognizers that read nothing but the text, asked one by one."""
    from presidio_analyzer import PatternRecognizer, RecognizerRegistry
    from presidio_analyzer.predefined_recognizers import PhoneRecognizer

    registry = RecognizerRegistry(supported_languages=[language])
    registry.load_predefined_recognizers(languages=[language])
    found = [one for one in registry.recognizers
             if isinstance(one, PatternRecognizer | PhoneRecognizer)]  # fmt: skip
    known = sorted({name for one in found for name in one.supported_entities})
    wanted = entities or known

    def analyze(text: str) -> list[Any]:
        return [
            result
            for one in found
            if (names := [name for name in one.supported_entities if name in wanted])
            for result in one.analyze(text, names, None) or ()
        ]

    return analyze, known


def _with_model(model: str, language: str, entities: list[str]) -> tuple[Analyze, list[str]]:
    import spacy.util
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpEngineProvider

    if not (spacy.util.is_package(model) or Path(model).is_dir()):  # it would be downloaded
        raise ValueError(f"model: spaCy has no {model!r} installed")
    about = {"nlp_engine_name": "spacy",
             "models": [{"lang_code": language, "model_name": model}]}  # fmt: skip
    nlp = NlpEngineProvider(nlp_configuration=about).create_engine()
    engine = AnalyzerEngine(nlp_engine=nlp, supported_languages=[language])

    def analyze(text: str) -> list[Any]:
        return list(engine.analyze(text, language, entities=entities or None))

    return analyze, sorted(engine.get_supported_entities(language))
