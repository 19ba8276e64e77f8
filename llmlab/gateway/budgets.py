"""Budgets at the gateway: what lab/budgets.js goes by, and where it sits.

Pure. Usage is settled and logged in every lab; only where budgets are configured a request is
looked at before it is passed on (``js_access``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

from llmlab.bounds import LONGEST_SUMMARY, MOST_ANSWERS, MOST_CHOICES, MOST_TEXTS
from llmlab.config.budgets import LIMITS, Budget, Price
from llmlab.config.model import Model
from llmlab.errors import ConfigError
from llmlab.gateway.claims import claim_variable
from llmlab.gateway.plan import GatewayPlan
from llmlab.gateway.quoting import checked

SCRIPTS, DATA = ("asking.js", "budgets.js", "usage.js"), "lab/budgets.json"
GRACE = 60.0  # seconds that a settlement may come after the longest stream
# Of shared memory. A count is one of 256 bytes as a rule, for each budget, window and holder; a
# reservation one of 1 KiB.
COUNTS, RESERVATIONS = "16m", "16m"
FORGOTTEN = "35d"  # the longest window is a month
T5_WINDOW = 512
UNKNOWN_CONTEXT = 8192  # tokens of a chat model of which nothing is known
OVER = ("over", "over_why", "over_after", "over_last", "over_kind")
KNOWN = ("stated", "reserved", "claims", "late", "told")
# WORD of llmlab/answered.py, as NGINX has it.
ANSWER = (
    r"first:(?:\d{1,7}|-),gap:(?:\d{1,7}|-),writing:(?:\d{1,7}|-),tokens:\d{1,7},"
    r"cut:[01-],refused:[012-],invalid:[01-]"
)
IN_HEAD = "-"  # in the place of an id where nothing can be settled later
FREE = Price()
WINDOWS = {"minute": 60_000, "day": 86_400_000, "month": 0}  # milliseconds; 0: not all are as long
UNITS = ("requests", "tokens")
PARTS = {"limit": "limit", "left": "remaining", "reset": "reset"}


def claims_of(budgets: Sequence[Budget]) -> set[str]:
    """The claims that budgets are by."""
    return {one.by.partition(":")[2] for one in budgets if one.by != "subject"}


def http(plan: GatewayPlan) -> list[str]:
    """The script, what it keeps, and the variables by which it tells."""
    told = [*KNOWN, *OVER, *(f"{part}_{unit}" for part in PARTS for unit in UNITS)]
    return [
        "js_import budgets from lab/budgets.js;",
        "js_import usage from lab/usage.js;",
        f"js_preload_object lab_budgets from {DATA};",
        f"js_shared_dict_zone zone=lab_budget_counts:{COUNTS} type=number timeout={FORGOTTEN}"
        f"{_state(plan, 'counts')};",
        f"js_shared_dict_zone zone=lab_reservations:{RESERVATIONS} type=string "
        f"timeout={round(plan.longest + GRACE)}s{_state(plan, 'reservations')};",
        *(f'js_var $lab_{name} "";' for name in told),
        *(f"js_var $lab_{name} 0;" for name in ("read", "written", "cost")),
        *([*_stated(), *_said()] if plan.budgets else []),
        *_ids(plan),
        *_used(plan),
    ]


def _state(plan: GatewayPlan, name: str) -> str:
    """Where a zone is kept, which without budgets holds nothing that has to be."""
    return f" state={plan.counts}/{name}.json" if plan.counts and plan.budgets else ""


def _stated() -> list[str]:
    """$lab_says, of a body that was read: 0 if it says nothing of how much is to be written, and
    shows no pictures, and so need not be parsed. JSON may spell a letter of a name by its number,
    and another encoding each by several bytes. Where NGINX cannot tell, it is 1."""
    lengths = "max_(?:tokens|completion_tokens|length|new_tokens)|min_length"
    named = f"{lengths}|n|inputs|prompt|parameters"
    return [
        "map $request_body $lab_says {",
        rf'    "~\"(?:(?:{named})\"|data:image/)|\\\\u" 1;',
        r'    "~\x00" 1;',
        '    "~^" 0;',
        "    default 1;",
        "}",
        r'map $request_body $lab_shows { "~\"data:image/" 1; "~^" 0; default 1; }',
    ]


def _said() -> list[str]:
    """$lab_said_in and $lab_said_out: tokens, where the head of an answer says just that."""
    head = "$upstream_http_x_usage"
    return [
        rf'map {head} $lab_said_in {{ "~^(?<said_in>\d{{1,12}}) \d{{1,12}}\z" $said_in; }}',
        rf'map {head} $lab_said_out {{ "~^\d{{1,12}} (?<said_out>\d{{1,12}})\z" $said_out; }}',
    ]


def _ids(plan: GatewayPlan) -> list[str]:
    """$lab_settlement, a header for the API: the id by which it says what was used. Whoever
    reaches the desk can settle by it, so where that changes a budget nobody else can know it."""
    told = ["js_set $lab_ticket usage.ticket;"] if plan.settlements and plan.budgets else []
    number = "$lab_ticket" if told else "$request_id" if plan.settlements else IN_HEAD
    return [
        *told,
        "# The lab's own questions come by a socket of its own, and count for nobody.",
        'map "$request_method $remote_addr" $lab_settled_by {',
        '    "~^(?:GET|HEAD|OPTIONS) " "";',
        '    "~ unix:\\z" "";',
        f"    default {number};",
        "}",
        "# Nobody settles a request by a copy of it.",
        'map $uri $lab_settlement { volatile; /.shadow ""; default $lab_settled_by; }',
    ]


def _used(plan: GatewayPlan) -> list[str]:
    """What the log says of usage: a script adds it up. Where there is nothing to be added up, as of
    a whole answer that costs nothing, it is not called."""
    return [
        *(_whole(plan) if is_plain(plan) else ['map "" $lab_whole { default ""; }']),
        "js_set $lab_added_up usage.settle;",
        'map $lab_whole $lab_settled { "" $lab_added_up; default 1; }',
        *(
            f'map $lab_whole {name} {{ "" {added}; "~^{place}" ${part}; }}'
            for name, added, part, place in (
                ("$lab_tokens_in", "$lab_read", "lab_first", "(?<lab_first>\\d+)"),
                ("$lab_tokens_out", "$lab_written", "lab_last", "\\d+ (?<lab_last>\\d+)"),
            )
        ),
        *answer("$lab_told"),
    ]


def answer(told: str = "") -> list[str]:
    """$lab_answer: what became of an answer, which a stream tells later than in its head."""
    return [
        f'map "{told}$upstream_http_x_answer" $lab_answer {{',
        f'    "~^(?<lab_word>{ANSWER})\\z" $lab_word;',
        '    default "";',
        "}",
    ]


def _whole(plan: GatewayPlan) -> list[str]:
    """$lab_whole: all that was used, where no model was asked, or its head has said it all."""
    before = "$lab_used_before" if any(one.fallback for one in plan.upstreams) else ""
    return [
        f'map "$upstream_addr|$lab_settled_by|{before}|$upstream_http_x_usage" $lab_whole {{',
        '    "~^(?:\\||[^|]*\\|\\|)" "0 0";',
        '    "~\\|\\|(?<lab_said>\\d{1,12} \\d{1,12})\\z" $lab_said;',
        '    default "";',
        "}",
    ]


def is_plain(plan: GatewayPlan) -> bool:
    """Whether what a whole answer says is all that there is to know."""
    priced = any(one.model and one.model.price != FREE for one in plan.upstreams)
    return not plan.budgets and not priced


def nobodys() -> list[str]:
    """The same variables where no script is: nothing is known."""
    empty = [*OVER, "claims", "settlement"]
    zero = ["tokens_in", "tokens_out", "cost", "settled"]
    return [
        *(f'map "" $lab_{name} {{ default ""; }}' for name in empty),
        *(f'map "" $lab_{name} {{ default 0; }}' for name in zero),
        *answer(),
    ]


def admission(plan: GatewayPlan) -> list[str]:
    """Of a location that passes requests on to a model."""
    if plan.waf:  # which is asked first
        return ["js_access admission.admit;"]
    return ["js_access budgets.admit;"] if plan.budgets else []


def headers(plan: GatewayPlan) -> list[str]:
    """What answers say of the tightest budget, where one of that unit is configured."""
    limits = [LIMITS[key] for one in plan.budgets if not one.shadow for key in one.limits]
    units = [unit for unit in UNITS if any(found == unit for found, _ in limits)]
    return [
        f"add_header x-ratelimit-{said}-{unit} $lab_{part}_{unit} always;"
        for unit in units
        for part, said in PARTS.items()
    ]


def exposed(plan: GatewayPlan) -> list[str]:
    """Names of these, for pages of other origins."""
    return [line.split(" ")[1] for line in headers(plan)]


# Where all processes are of one user, who may know what others use.
COUNTED = ("    location = /counts {", "        js_content usage.counted;", "    }")


def settlements(plan: GatewayPlan) -> list[str]:
    """The server where an API says what was used, once its answer's head is gone, and where the
    lab asks for all counts."""
    if not plan.settlements:
        return []
    return [
        "log_format lab_late escape=none '$lab_late';",
        "server {",
        f"    listen {plan.settlements};",
        "    client_max_body_size 1k;",
        f"    access_log {f'{plan.logs}/gateway.log' if plan.logs else '/dev/stdout'} "
        "lab_late if=$lab_late;",
        "    location = /settlements {",
        "        js_content usage.late;",
        "    }",
        *(COUNTED if plan.logs else ()),
        "    location / {",
        "        return 404;",
        "    }",
        "}",
    ]


def files(plan: GatewayPlan) -> dict[str, str]:
    scripts = resources.files("llmlab.gateway")
    found = {f"lab/{one}": scripts.joinpath(one).read_text(encoding="utf-8") for one in SCRIPTS}
    return {**found, DATA: json.dumps(data(plan), indent=1) + "\n"}


def data(plan: GatewayPlan) -> dict[str, Any]:
    """lab/budgets.json."""
    claims = sorted(claims_of(plan.budgets))
    return {
        "budgets": [_budget(one) for one in plan.budgets],
        "claims": {name: _plain(claim_variable(checked("claim", name))) for name in claims},
        "claimed": bool(claims),
        "presets": any("max_length" in flag.decoding for flag in plan.traffic.flags),
        "plain": is_plain(plan),
        "models": {one.deployment: _model(one.model) for one in plan.upstreams},
        "unknown": _model(None),
        "most": {
            "choices": MOST_CHOICES,
            "answers": MOST_ANSWERS,
            "texts": MOST_TEXTS,
            "summary": LONGEST_SUMMARY,
        },
        "keeps": round(1000 * (plan.longest + GRACE)),
    }


def refuse(plan: GatewayPlan) -> None:
    """Raises ConfigError: this edition has no budgets."""
    if plan.budgets:
        raise ConfigError(
            "budgets: NGINX Plus is run without njs here, by which the gateway counts tokens",
            fix='gateway.edition = "open" in configs/lab.toml, or take [[budgets]] out',
        )


def _budget(budget: Budget) -> dict[str, Any]:
    claim = budget.by.partition(":")[2] or "sub"
    return {
        "name": budget.called,
        "variable": _plain(claim_variable(checked("claim", claim))),
        "who": budget.who,
        "shadow": budget.shadow,
        "currency": budget.currency,
        "limits": [
            {
                "key": key,
                "begin": f"{budget.called} {key} ",
                "unit": LIMITS[key][0],
                "long": WINDOWS[LIMITS[key][1]],
                "most": most,
            }
            for key, most in budget.limits.items()
        ],
    }


def _model(model: Model | None) -> dict[str, Any]:
    """What a request may take of a deployment.

    ``writes``: tokens of an answer that says no limit of its own, ``summary`` of a summary;
    ``context``: those that no answer goes beyond, 0 where nobody knows. ``window``: of a longer
    text, window by window is summarized; 0 for whole. ``summarizes``: it can do nothing else.
    """
    if model is None:
        return {"writes": UNKNOWN_CONTEXT, "summary": UNKNOWN_CONTEXT, "context": 0,
                "window": 0, "summarizes": False, "input": 0.0, "output": 0.0}  # fmt: skip
    writes = model.decoding.max_tokens or model.context or UNKNOWN_CONTEXT
    return {
        "writes": writes if model.chats else model.max_length,
        "summary": model.max_length,
        "window": _window(model),
        "summarizes": not model.chats,
        "context": model.context if model.runtime == "llamacpp" else 0,
        "input": model.price.input,
        "output": model.price.output,
    }


def _window(model: Model) -> int:
    if model.runtime == "extractive":
        return 0
    return (model.context or UNKNOWN_CONTEXT) // 2 if model.chats else T5_WINDOW


def _plain(variable: str) -> str:
    """A variable's name as a script knows it."""
    return variable.removeprefix("$")
