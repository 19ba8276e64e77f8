"""What a lab has to show for each objective. A check says in one line what is there or what is
missing, and then the next command."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

from llmlab.config import Config
from llmlab.course.evidence import Evidence, Line
from llmlab.delivery.ledger import Entry, Kind
from llmlab.errors import LlmlabError, UsageError
from llmlab.models.identity import short_id
from llmlab.registry.record import Record

TEXT = "configs/texts/founding.txt"
# The subjects that the pages give to a caller with a token of its own.
SYSTEM, NOTEBOOK = "quotes", "notebook"
LENGTHS = 3  # so often a program asks
MEANWHILE = 5.0  # seconds around a refusal
FRESH = Config()  # what lab.toml says before anybody edits it


@dataclass(frozen=True)
class Finding:
    """What one check has found. ``fix`` is the next command; "" if it is done."""

    done: bool
    told: str
    fix: str = ""


class Checks(TypedDict):
    checks: list[Finding]


@dataclass(frozen=True)
class Result:
    """All checks of an objective."""

    number: int
    findings: tuple[Finding, ...]

    @property
    def done(self) -> bool:
        return all(one.done for one in self.findings)

    @property
    def passed(self) -> int:
        return sum(one.done for one in self.findings)

    def as_json(self) -> dict[str, Any]:
        return {
            "number": self.number, "done": self.done, "passed": self.passed,
            "of": len(self.findings), "checks": [asdict(one) for one in self.findings],
        }  # fmt: skip


Check = Callable[[Evidence], Finding]


def look(lab: Evidence, number: int) -> Result:
    """Check one objective.

    Raises:
        UsageError: there is no such objective, or lab.toml cannot be read.
    """
    if number not in OBJECTIVES:
        raise UsageError(
            f"there is no objective {number}; there are 1 to {len(OBJECTIVES)}",
            fix="llmlab course list",
        )
    return Result(number, tuple(check(lab) for check in OBJECTIVES[number]))


def look_at_all(lab: Evidence) -> list[Result]:
    """All objectives. Where one cannot be judged, it says why, and the others are judged."""
    results = []
    for number, checks in OBJECTIVES.items():
        try:
            results.append(look(lab, number))
        except LlmlabError as error:
            one = Finding(False, error.message.splitlines()[0], error.fix or "llmlab doctor")
            results.append(Result(number, (one,) * len(checks)))
    return results


def _done(told: str) -> Finding:
    return Finding(True, told)


def _missing(told: str, fix: str) -> Finding:
    return Finding(False, told, fix)


# --- 1: a model ----------------------------------------------------------------------------


def model_is_here(lab: Evidence) -> Finding:
    name, (reason, fix) = lab.config.stable, lab.not_ready
    if not reason:
        return _done(f"the chosen model is {name} ({lab.model.runtime}), and it is on this machine")
    return _missing(
        f"the chosen model is {name}, and {reason}",
        f'{fix}; or choose another one: stable = "textrank" in configs/lab.toml',
    )


def model_is_pinned(lab: Evidence) -> Finding:
    name, wanted = lab.config.stable, lab.model.content_id
    if not wanted:
        return _missing(
            f"nothing says which content {name} has to have",
            f"llmlab models show {name}, then its id as content_id in [models.{name}] of "
            "configs/lab.toml",
        )
    if wanted not in lab.ids:
        return _missing(
            f"content_id of {name} is {short_id(wanted)}, which is not what is on this machine",
            f"llmlab models show {name}",
        )
    return _done(f"{name} has to have the content {short_id(wanted)}, and it has")


# --- 2: the service -------------------------------------------------------------------------


def api_runs(lab: Evidence) -> Finding:
    chosen, serving = lab.config.stable, lab.stable
    if serving is None:
        return _missing("no API process runs", "llmlab up")
    if not serving.healthy:
        return _missing(f"the API of {serving.name} does not answer", f"llmlab logs {serving.name}")
    here = [one.name for one in lab.status.deployments if one.healthy]
    if chosen not in here:
        return _missing(
            f"{', '.join(here)} answers, and not {chosen}, which was chosen", "llmlab up"
        )
    return _done(f"the API of {chosen} runs and has its model loaded")


def api_has_answered(lab: Evidence) -> Finding:
    if not lab.answered:
        return _missing("no text was summarized yet", f"llmlab summarize {TEXT}")
    last = lab.answered[-1]
    return _done(f"{_times(lab.answered, 'text')} summarized, the last one by {last['deployment']}")


# --- 3: the gateway -------------------------------------------------------------------------


def gateway_runs(lab: Evidence) -> Finding:
    url, running = lab.config.gateway.url, lab.status.gateway
    if not (lab.status.running and running.healthy):
        return _missing("no gateway answers", "llmlab up")
    if running.url != url:
        return _missing(f"the gateway is at {running.url}, and lab.toml says {url}", "llmlab up")
    return _done(f"NGINX {running.nginx} answers at {url}")


def own_size_limit(lab: Evidence) -> Finding:
    size = lab.config.gateway.max_body
    if size == FRESH.gateway.max_body:
        return _missing(
            f"the largest body is still {size}, as it came",
            'max_body = "64k" in [gateway] of configs/lab.toml, then llmlab up',
        )
    if lab.running is None or lab.running.gateway.max_body != size:
        return _missing(f"lab.toml says {size}, and the gateway does not know it yet", "llmlab up")
    return _done(f"the gateway takes bodies of up to {size}")


def large_text_was_refused(lab: Evidence) -> Finding:
    if found := lab.refused(413):
        return _done(
            f"{_times(found, 'request')} larger than that refused (413), and no API was asked"
        )
    return _missing(
        "no text that is too large was sent to the gateway yet",
        "send one, as in llmlab course start 3",
    )


# --- 4: the rate limit -----------------------------------------------------------------------


def own_rate(lab: Evidence) -> Finding:
    limit = lab.config.gateway.rate_limit
    if not limit.enabled:
        return _missing(
            "the rate limit is off", "enabled = true in [gateway.rate_limit], then llmlab up"
        )
    if limit.rate == FRESH.gateway.rate_limit.rate:
        return _missing(
            f"the rate is still {limit.rate}, as it came",
            'rate = "5r/s" in [gateway.rate_limit] of configs/lab.toml, then llmlab up',
        )
    if lab.running is None or lab.running.gateway.rate_limit != limit:
        return _missing(
            f"lab.toml says {limit.rate}, and the gateway does not know it yet", "llmlab up"
        )
    return _done(f"every subject has {limit.rate}")


def somebody_was_limited(lab: Evidence) -> Finding:
    if found := lab.refused(429):
        return _done(f"{_times(found, 'request')} above the rate refused (429)")
    return _missing(
        "nobody has met the limit yet", "llmlab load --rate 20 --duration 3s"
    )  # fmt: skip


def others_were_not(lab: Evidence) -> Finding:
    """Somebody was answered within seconds of a refusal of somebody else."""
    answered: dict[str, float] = {}  # by subject, when last
    refused: dict[str, float] = {}
    for one in lab.requests:
        subject, at = str(one.get("subject", "")), float(one.get("at", 0))
        limited = one.get("status") == 429 and not one.get("deployment")
        if not limited and one.get("status") != 200:
            continue
        (refused if limited else answered)[subject] = at
        for other, when in (answered if limited else refused).items():
            if other != subject and at - when <= MEANWHILE:
                left, served = (subject, other) if limited else (other, subject)
                return _done(f"while {left} was refused, {served} was answered")
    return _missing(
        "nobody else has asked while somebody was refused",
        "the load again, and with it a request as alice, as in llmlab course start 4",
    )


# --- 5: keys and tokens ----------------------------------------------------------------------


def without_token(lab: Evidence) -> Finding:
    if found := lab.refused(401):
        return _done(f"{_times(found, 'request')} without a valid token refused (401)")
    return _missing(
        "nobody has tried without a token yet",
        f"curl --noproxy '*' {lab.config.gateway.url}/",
    )


def subject_of_its_own(lab: Evidence) -> Finding:
    if found := _of(lab, SYSTEM):
        return _done(f"{_times(found, 'request')} of {SYSTEM} answered, by a token of its own")
    return _missing(
        f"no token of {SYSTEM} was used yet",
        f"llmlab token --sub {SYSTEM}, and a request with it, as in llmlab course start 5",
    )


def key_was_rotated(lab: Evidence) -> Finding:
    keys = [one for one in lab.entries if one.kind == Kind.KEY and "kid" in one.document]
    ended = [one for one in keys if one.document["did"] == "revoked"]
    valid = [key.kid for key in lab.keys.keys if not key.is_demo]
    if ended and valid:
        return _done(f"key {ended[-1].document['kid']} is revoked, and {valid[-1]} signs")
    if len(valid) > 1:
        return _missing(
            f"there is a new key, and the old one, {valid[0]}, is still valid",
            f"llmlab keys revoke {valid[0]}",
        )
    return _missing(
        "the key that signs is still the first one",
        "llmlab keys rotate" if valid else "llmlab up",
    )


# --- 6: a program ---------------------------------------------------------------------------


def program_has_asked(lab: Evidence) -> Finding:
    if found := _of(lab, NOTEBOOK):
        return _done(f"{_times(found, 'request')} of {NOTEBOOK} answered")
    return _missing(
        f"nothing was asked with a token of the subject {NOTEBOOK} yet",
        f"llmlab token --sub {NOTEBOOK}, and a program with it, as in llmlab course start 6",
    )


def program_has_compared(lab: Evidence) -> Finding:
    sizes = {one.get("bytes_out") for one in _of(lab, NOTEBOOK)}
    if len(sizes) >= LENGTHS:
        return _done("its answers have different lengths")
    return _missing(
        f"it has answers of {len(sizes) or 'no'} length{'s' * (len(sizes) != 1)}, "
        f"and {LENGTHS} are to be compared",
        "ask with max_length 25, 50 and 100, as in llmlab course start 6",
    )


# --- 7: a better model ------------------------------------------------------------------------

TUNE = "llmlab tune --base scratch:tiny --data few.jsonl --name mine, as in llmlab course start 7"


def model_is_registered(lab: Evidence) -> Finding:
    if own := _own(lab):
        return _done(f"{own[-1].reference} is registered ({own[-1].facts.source})")
    return _missing("no model of your own is registered", TUNE)


def model_is_judged(lab: Evidence) -> Finding:
    for one in reversed(_own(lab)):
        if one.evaluations:
            last = one.evaluations[-1]
            told = f"on {last['n']} texts of {last['suite']}" if "suite" in last else ""
            return _done(f"{one.reference} was judged {told}".rstrip())
    own = _own(lab)
    return _missing(
        "none of your models was judged",
        f"llmlab evaluate --suite news --model {own[-1].reference} --offline" if own else TUNE,
    )


def model_has_answered(lab: Evidence) -> Finding:
    own = _own(lab)
    names = {name: one.reference for one in own for name in _deployments(lab, one)}
    for line in reversed(lab.answered):
        if line["deployment"] in names:
            return _done(f"{names[line['deployment']]} has answered, as {line['deployment']}")
    reference = own[-1].reference if own else "mine"
    return _missing(
        "none of your models has answered through the gateway",
        f"llmlab deploy {reference}, then llmlab summarize {TEXT} --model {reference}",
    )


# --- 8: delivery ------------------------------------------------------------------------------

START = "llmlab rollout start canary next, as in llmlab course start 8"


def second_version(lab: Evidence) -> Finding:
    for one in reversed(lab.entries):
        if one.kind == Kind.DEPLOYMENT and one.document.get("did") == "deploy":
            return _done(f"{one.document['deployment']} was deployed beside the stable version")
    return _missing(
        "there is no second version beside the stable one", "llmlab deploy textrank --name next"
    )


def canary_went_through(lab: Evidence) -> Finding:
    for number, started in _rollouts(lab):
        if started.document.get("of") == "canary" and _ended(lab, number) == "completed":
            names = " and ".join(started.document["candidates"])
            return _done(f"rollout {number} gave {names} the traffic, step by step")
    return _missing("no canary was completed", START)


def bad_version_was_caught(lab: Evidence) -> Finding:
    """A drill was on for the candidate when its rollout failed its gate."""
    drilled = [
        one for one in lab.entries
        if one.kind == Kind.DRILL and one.document.get("drill") is not None
    ]  # fmt: skip
    for number, started in _rollouts(lab):
        failed = [
            one for one in lab.entries
            if one.kind == Kind.VERDICT and one.document.get("rollout") == number
            and one.document.get("outcome") == "fail"
        ]  # fmt: skip
        caused = [
            one for one in drilled
            if one.document["deployment"] in started.document.get("candidates", {})
            and failed and one.seq < failed[0].seq
        ]  # fmt: skip
        if caused and _ended(lab, number) == "aborted":
            what = caused[-1].document["drill"]["kind"]
            return _done(f"rollout {number} met the drill {what}, and the gate took it back")
    return _missing(
        "no version that misbehaves was caught" if drilled else "no drill was made",
        "llmlab drill worse-text --deployment next, then " + START,
    )


def ledger_is_whole(lab: Evidence) -> Finding:
    if lab.problems:
        return _missing(f"the ledger is broken: {lab.problems[0]}", "llmlab ledger verify")
    if not lab.entries:
        return _missing("the ledger has no entry", "llmlab up")
    return _done(f"the ledger tells all of it, in {len(lab.entries)} entries that nobody changed")


OBJECTIVES: dict[int, Sequence[Check]] = {
    1: (model_is_here, model_is_pinned),
    2: (api_runs, api_has_answered),
    3: (gateway_runs, own_size_limit, large_text_was_refused),
    4: (own_rate, somebody_was_limited, others_were_not),
    5: (without_token, subject_of_its_own, key_was_rotated),
    6: (program_has_asked, program_has_compared),
    7: (model_is_registered, model_is_judged, model_has_answered),
    8: (second_version, canary_went_through, bad_version_was_caught, ledger_is_whole),
}


# --- What several of them need -----------------------------------------------------------------


def _times(found: Sequence[object], what: str) -> str:
    return f"{len(found):,} {what}{' was' if len(found) == 1 else 's were'}"


def _of(lab: Evidence, subject: str) -> list[Line]:
    return [one for one in lab.answered if one.get("subject") == subject]


def _own(lab: Evidence) -> list[Record]:
    """Registered models that are no hub's, the oldest first."""
    return [one for one in lab.registered if one.owned]


def _deployments(lab: Evidence, record: Record) -> set[str]:
    """All names under which a registered model was served."""
    names = {record.name, f"{record.name}-{record.version}"}
    for one in lab.entries:
        if one.kind == Kind.DEPLOYMENT and one.document.get("model") == record.reference:
            names.add(str(one.document["deployment"]))
    return names


def _rollouts(lab: Evidence) -> Iterator[tuple[int, Entry]]:
    """Numbers of rollouts with the entry of their start, the newest first."""
    for one in reversed(lab.entries):
        if one.kind == Kind.ROLLOUT and "of" in one.document:
            yield int(one.document["rollout"]), one


def _ended(lab: Evidence, number: int) -> str:
    """The last phase of a rollout."""
    for one in reversed(lab.entries):
        if one.kind == Kind.ROLLOUT and one.document.get("rollout") == number:
            return str(one.document.get("phase", ""))
    return ""
