"""What a lab has to show for each objective. A check says in one line what is there or what is
missing, and then the next command."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llmlab.client.connection import trust_in
from llmlab.client.snippets import curl_options
from llmlab.config import Config
from llmlab.course.evidence import Evidence
from llmlab.course.finding import Finding, done, missing
from llmlab.course.machines import machine_was_drained, machine_was_lost, machines_joined
from llmlab.ledger.chain import Kind
from llmlab.models.identity import short_id

TEXT = "configs/texts/founding.txt"
# The subjects that the pages give to a caller with a token of its own.
SYSTEM, NOTEBOOK = "quotes", "notebook"
LENGTHS = 3  # so often a program asks
MEANWHILE = 5.0  # seconds around a refusal
FRESH = Config()  # what lab.toml says before anybody edits it

Check = Callable[[Evidence], Finding]


# --- 1: a model ----------------------------------------------------------------------------


def model_is_here(lab: Evidence) -> Finding:
    name, (reason, fix) = lab.config.stable, lab.not_ready
    if not reason:
        return done(f"the chosen model is {name} ({lab.model.runtime}), and it is on this machine")
    return missing(
        f"the chosen model is {name}, and {reason}",
        f'{fix}; or choose another one: summarize = "textrank" in [routes] of configs/lab.toml',
    )


def model_is_pinned(lab: Evidence) -> Finding:
    name, wanted = lab.config.stable, lab.model.content_id
    if not wanted:
        return missing(
            f"nothing says which content {name} has to have",
            f"llmlab models show {name}, then its id as content_id in [models.{name}] of "
            "configs/lab.toml",
        )
    if wanted not in lab.ids:
        return missing(
            f"content_id of {name} is {short_id(wanted)}, which is not what is on this machine",
            f"llmlab models show {name}",
        )
    return done(f"{name} has to have the content {short_id(wanted)}, and it has")


# --- 2: the service -------------------------------------------------------------------------


def api_runs(lab: Evidence) -> Finding:
    chosen, serving = lab.config.stable, lab.stable
    if serving is None:
        return missing("no API process runs", "llmlab up")
    if not serving.healthy:
        return missing(f"the API of {serving.name} does not answer", f"llmlab logs {serving.name}")
    here = [one.name for one in lab.status.deployments if one.healthy]
    if chosen not in here:
        reason, _ = lab.not_ready
        if reason:
            return missing(
                f"{', '.join(here)} answers in the place of {chosen}: {reason}",
                'llmlab course check 1; or summarize = "textrank" in [routes] of configs/lab.toml, '
                "then llmlab up",
            )
        return missing(
            f"{', '.join(here)} answers, and not {chosen}, which was chosen", "llmlab up"
        )
    return done(f"the API of {chosen} runs and has its model loaded")


def api_has_answered(lab: Evidence) -> Finding:
    if not lab.answered:
        return missing("no text was summarized yet", f"llmlab summarize {TEXT}")
    last = lab.answered[-1]
    return done(f"{_times(lab.answered, 'text')} summarized, the last one by {last['deployment']}")


# --- 3: the gateway -------------------------------------------------------------------------


def gateway_runs(lab: Evidence) -> Finding:
    gateway = lab.status.gateway
    if not (lab.status.running and gateway.healthy):
        return missing("no gateway answers", "llmlab up")
    return done(f"NGINX {gateway.nginx} answers at {gateway.url}")


def own_size_limit(lab: Evidence) -> Finding:
    size = lab.config.gateway.max_body
    if size == FRESH.gateway.max_body:
        return missing(
            f"the largest body is still {size}, as it came",
            'max_body = "64k" in [gateway] of configs/lab.toml, then llmlab up',
        )
    if lab.running is None or lab.running.gateway.max_body != size:
        return missing(f"lab.toml says {size}, and the gateway does not know it yet", "llmlab up")
    return done(f"the gateway takes bodies of up to {size}")


def large_text_was_refused(lab: Evidence) -> Finding:
    if found := lab.refused(413):
        return done(
            f"{_times(found, 'request')} larger than that refused (413), and no API was asked"
        )
    return missing(
        "no text that is too large was sent to the gateway yet",
        "send one, as in llmlab course start 3",
    )


# --- 4: the rate limit -----------------------------------------------------------------------


def own_rate(lab: Evidence) -> Finding:
    limit = lab.config.gateway.rate_limit
    if not limit.enabled:
        return missing(
            "the rate limit is off", "enabled = true in [gateway.rate_limit], then llmlab up"
        )
    if limit.rate == FRESH.gateway.rate_limit.rate:
        return missing(
            f"the rate is still {limit.rate}, as it came",
            'rate = "5r/s" in [gateway.rate_limit] of configs/lab.toml, then llmlab up',
        )
    if lab.running is None or lab.running.gateway.rate_limit != limit:
        return missing(
            f"lab.toml says {limit.rate}, and the gateway does not know it yet", "llmlab up"
        )
    return done(f"every subject has {limit.rate}")


def somebody_was_limited(lab: Evidence) -> Finding:
    if found := lab.refused(429):
        return done(f"{_times(found, 'request')} above the rate refused (429)")
    return missing(
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
                return done(f"while {left} was refused, {served} was answered")
    return missing(
        "nobody else has asked while somebody was refused",
        "the load again, and with it a request as alice, as in llmlab course start 4",
    )


# --- 5: keys and tokens ----------------------------------------------------------------------


def without_token(lab: Evidence) -> Finding:
    if found := lab.refused(401):
        return done(f"{_times(found, 'request')} without a valid token refused (401)")
    return missing(
        "nobody has tried without a token yet",
        f"curl {curl_options(lab.url, trust_in(lab.lab))}{lab.url}/",
    )


def subject_of_its_own(lab: Evidence) -> Finding:
    if found := lab.answers_to(SYSTEM):
        return done(f"{_times(found, 'request')} of {SYSTEM} answered, by a token of its own")
    return missing(
        f"no token of {SYSTEM} was used yet",
        f"llmlab token --sub {SYSTEM}, and a request with it, as in llmlab course start 5",
    )


def key_was_rotated(lab: Evidence) -> Finding:
    keys = [one for one in lab.entries if one.kind == Kind.KEY and "kid" in one.document]
    ended = [one for one in keys if one.document["did"] == "revoked"]
    valid = [key.kid for key in lab.keys.keys if not key.is_demo]
    if ended and valid:
        return done(f"key {ended[-1].document['kid']} is revoked, and {valid[-1]} signs")
    if len(valid) > 1:
        return missing(
            f"there is a new key, and the old one, {valid[0]}, is still valid",
            f"llmlab keys revoke {valid[0]}",
        )
    return missing(
        "the key that signs is still the first one",
        "llmlab keys rotate" if valid else "llmlab up",
    )


# --- 6: a program ---------------------------------------------------------------------------


def program_has_asked(lab: Evidence) -> Finding:
    if found := lab.answers_to(NOTEBOOK):
        return done(f"{_times(found, 'request')} of {NOTEBOOK} answered")
    return missing(
        f"nothing was asked with a token of the subject {NOTEBOOK} yet",
        f"llmlab token --sub {NOTEBOOK}, and a program with it, as in llmlab course start 6",
    )


def program_has_compared(lab: Evidence) -> Finding:
    sizes = {one.get("bytes_out") for one in lab.answers_to(NOTEBOOK)}
    if len(sizes) >= LENGTHS:
        return done("its answers have different lengths")
    return missing(
        f"{_lengths(len(sizes))}, and {LENGTHS} are to be compared",
        "ask with max_length 25, 50 and 100, as in llmlab course start 6",
    )


def _lengths(found: int) -> str:
    if not found:
        return "it has no answers yet"
    return f"it has answers of {found} length{'s' * (found > 1)}"


# --- 7: a better model ------------------------------------------------------------------------

TUNE = "llmlab tune --base scratch:tiny --data few.jsonl --name mine, as in llmlab course start 7"


def model_is_registered(lab: Evidence) -> Finding:
    if own := lab.own_models:
        return done(f"{own[-1].reference} is registered ({own[-1].facts.source})")
    return missing("no model of your own is registered", TUNE)


def model_is_judged(lab: Evidence) -> Finding:
    for one in reversed(lab.own_models):
        if one.evaluations:
            last = one.evaluations[-1]
            told = f"on {last['n']} texts of {last['suite']}" if "suite" in last else ""
            return done(f"{one.reference} was judged {told}".rstrip())
    own = lab.own_models
    return missing(
        "none of your models was judged",
        f"llmlab evaluate --suite news --model {own[-1].reference} --offline" if own else TUNE,
    )


def model_has_answered(lab: Evidence) -> Finding:
    own = lab.own_models
    names = {name: one.reference for one in own for name in lab.served_as(one)}
    for line in reversed(lab.answered):
        if line["deployment"] in names:
            return done(f"{names[line['deployment']]} has answered, as {line['deployment']}")
    reference = own[-1].reference if own else "mine"
    return missing(
        "none of your models has answered through the gateway",
        f"llmlab deploy {reference}, then llmlab summarize {TEXT} --model {reference}",
    )


# --- 8: delivery ------------------------------------------------------------------------------

START = "llmlab rollout start canary next, as in llmlab course start 8"


def second_version(lab: Evidence) -> Finding:
    if found := lab.second_versions:
        return done(f"{found[-1]} was deployed beside the stable version")
    return missing(
        "there is no second version beside the stable one", "llmlab deploy textrank --name next"
    )


def canary_went_through(lab: Evidence) -> Finding:
    for number, started in lab.rollouts():
        if started.document.get("of") == "canary" and lab.ended(number) == "completed":
            names = " and ".join(started.document["candidates"])
            return done(f"rollout {number} gave {names} the traffic, step by step")
    return missing("no canary was completed", START)


def bad_version_was_caught(lab: Evidence) -> Finding:
    """A drill was on for the candidate when its rollout failed its gate."""
    drilled = [
        one for one in lab.entries
        if one.kind == Kind.DRILL and one.document.get("drill") is not None
    ]  # fmt: skip
    for number, started in lab.rollouts():
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
        if caused and lab.ended(number) == "aborted":
            what = caused[-1].document["drill"]["kind"]
            return done(f"rollout {number} met the drill {what}, and the gate took it back")
    return missing(
        "no version that misbehaves was caught" if drilled else "no drill was made",
        "llmlab drill worse-text --deployment next, then " + START,
    )


def ledger_is_whole(lab: Evidence) -> Finding:
    if lab.problems:
        return missing(f"the ledger is broken: {lab.problems[0]}", "llmlab ledger verify")
    if not lab.entries:
        return missing("the ledger has no entry", "llmlab up")
    return done(f"the ledger tells all of it, in {len(lab.entries)} entries that nobody changed")


OBJECTIVES: dict[int, Sequence[Check]] = {
    1: (model_is_here, model_is_pinned),
    2: (api_runs, api_has_answered),
    3: (gateway_runs, own_size_limit, large_text_was_refused),
    4: (own_rate, somebody_was_limited, others_were_not),
    5: (without_token, subject_of_its_own, key_was_rotated),
    6: (program_has_asked, program_has_compared),
    7: (model_is_registered, model_is_judged, model_has_answered),
    8: (second_version, canary_went_through, bad_version_was_caught, ledger_is_whole),
    9: (machines_joined, machine_was_lost, machine_was_drained),
}


def _times(found: Sequence[object], what: str) -> str:
    return f"{len(found):,} {what}{' was' if len(found) == 1 else 's were'}"
