"""How verbs end that answer by their exit code as well, and not only with an error's."""

from __future__ import annotations

INTERRUPTED = 130  # as a shell says it: 128 and the signal's number
# `rollout status`
PAUSED, TOO_LATE, ABORTED = 1, 5, 8

OF_VERBS = {
    "status": {1: "the lab is not healthy"},
    "doctor": {3: "a check failed"},
    "trace": {1: "a request is not in the log"},
    "summarize": {130: "interrupted; what was done until then is printed"},
    "chat": {130: "interrupted; what came until then is printed"},
    "load": {8: "no rate keeps the promise of --until", 130: "interrupted; the figures until then "
             "are printed"},
    "judge calibrate": {8: "the judge may not judge"},
    "judge compare": {8: "the judge may not judge, or --at-least is not met"},
    "evaluate": {8: "the gate is not passed; with --judge, the judge may not judge"},
    "replay": {8: "the gate is not passed, or the requests do not decide"},
    "tune": {8: "the model was rejected, undecided, or out of budget; it is not registered"},
    "token": {4: "with --decode: the token is not valid"},
    "models suite lint": {1: "the suite has an error"},
    "models verify": {1: "something is damaged"},
    "ledger verify": {1: "the ledger is not whole"},
    "rollout lint": {1: "the rollout would have an error"},
    "rollout status": {PAUSED: "it is paused, and waits for a person",
                       TOO_LATE: "neither over nor paused within --timeout",
                       ABORTED: "it was aborted"},
    "course check": {8: "something of the objective is missing"},
    "course class up": {1: "a lab did not start"}, "course class down": {1: "a lab did not stop"},
    "drill aa": {8: "more false alarms than the gate promises; with --live, one"},
}  # fmt: skip
