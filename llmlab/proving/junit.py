"""A report as JUnit's XML, which CI systems show: a suite for each group, a case for each check."""

from __future__ import annotations

import re
from itertools import groupby
from xml.etree import ElementTree

from llmlab.proving.findings import Report, Result, Verdict

# https://www.w3.org/TR/xml/#charsets
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(report: Report) -> str:
    root = ElementTree.Element("testsuites", name="llmlab probe")
    by_group = sorted(report.results, key=lambda one: one.group)
    for group, found in groupby(by_group, key=lambda one: one.group):
        _suite(root, group, list(found), report)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(root: ElementTree.Element, group: str, found: list[Result], report: Report) -> None:
    verdicts = [one.verdict for one in found]
    suite = ElementTree.SubElement(
        root, "testsuite", name=group, hostname=_clean(report.target), timestamp=report.started,
        tests=str(len(found)), failures=str(verdicts.count(Verdict.FAILED)), errors="0",
        skipped=str(len(found) - verdicts.count(Verdict.FAILED) - verdicts.count(Verdict.PASSED)),
        time=f"{sum(one.seconds for one in found):.3f}",
    )  # fmt: skip
    for one in found:
        case = ElementTree.SubElement(
            suite, "testcase", classname=group, name=one.id, time=f"{one.seconds:.3f}"
        )
        if one.verdict is Verdict.FAILED:
            failure = ElementTree.SubElement(case, "failure", message=_clean(one.why))
            failure.text = _clean(told(one))
        elif one.verdict is not Verdict.PASSED:
            ElementTree.SubElement(case, "skipped", message=_clean(f"{one.verdict}: {one.why}"))


def told(one: Result) -> str:
    """What failed, with its evidence, in lines."""
    lines = [f"Should hold: {one.proves}", f"Found: {one.why}"]
    for seen in one.evidence:
        lines += [f"Sent: {seen.sent}", f"Got:  {seen.got}"]
    return "\n".join([*lines, f"Fix: {one.fix}"])


def _clean(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
