"""What a token's scope lets its bearer do, as maps that both editions of NGINX understand.

Scopes are words of `scope`, `scp` or `roles`, whatever the identity provider calls them. Those
that begin with `llmlab:` are ours: see llmlab.scopes. ``$lab_claimed``, of the edition, has those
of a token that was found valid.
"""

from __future__ import annotations

from collections.abc import Sequence

from llmlab.scopes import EVERYTHING, OPERATOR, PEOPLE, PREFIX, VIEWER

# In front of and behind a word.
EDGE = "[ ,]"
NAMED = "[a-z0-9][a-z0-9-]*"


def scopes(defaults: Sequence[str]) -> list[str]:
    """Lines that define ``$lab_needs``, the scope that a request needs, "" for none; ``$lab_may``,
    1 where the token has it; ``$lab_operates``, 1 for an operator; ``$lab_role``, what its bearer
    is to the console, "" for nothing; and ``$lab_lacks``.

    Args:
        defaults: what a token may ask that has no scope of the lab's but those of people.
    """
    routed = rf"{PREFIX}(?!(?:{'|'.join(PEOPLE)}){EDGE})"
    granted = " ".join(f"{PREFIX}{name}" for name in defaults)
    return [
        "# What a request needs: the name that it asks for. Of OpenAI's dialect that is known once",
        "# its body was read; it goes on to @openai then, and is judged once more.",
        'map "$request_method:$deployment:$lab_wish:$asked:$uri" $lab_needs {',
        "    volatile;",
        '    "~^(?:GET|HEAD|OPTIONS):" "";      # nothing is generated',
        f'    "~^[^:]+:(?<by_place>{NAMED}):" $by_place;',
        f'    "~^[^:]+::[a-z]+:(?<by_wish>{NAMED}):" $by_wish;',
        f'    "~^[^:]+:::(?<by_name>{NAMED}):" $by_name;',
        '    "~^[^:]+:+(?:/openai)?/v1/" "";',
        "    default summarize;",
        "}",
        "map $lab_claimed $lab_scopes {",
        f'    "~{EDGE}{routed}" $lab_claimed;',
        f'    default " {granted} ";',
        "}",
        'map "$route:$lab_scopes:$lab_needs" $lab_may {',
        "    volatile;",
        '    "~^console:" 1;                    # which no model is asked by: see $lab_role',
        '    "~:\\z" 1;',
        f'    "~{EDGE}{PREFIX}\\{EVERYTHING}{EDGE}" 1;',
        f'    "~{EDGE}{PREFIX}({NAMED})(?={EDGE}).*:\\1\\z" 1;',
        "    default 0;",
        "}",
        "map $lab_claimed $lab_operates {",
        f'    "~{EDGE}{PREFIX}{OPERATOR}{EDGE}" 1;',
        "    default 0;",
        "}",
        "map $lab_claimed $lab_role {",
        f'    "~{EDGE}{PREFIX}{OPERATOR}{EDGE}" {OPERATOR};',
        f'    "~{EDGE}{PREFIX}{VIEWER}{EDGE}" {VIEWER};',
        '    default "";',
        "}",
        "# The scope that is missing, where a valid token does not cover what it is sent for.",
        'map "$lab_may:$lab_operates:$route:$uri" $lab_lacks {',
        "    volatile;",
        f'    "~^[01]:0:console:" {VIEWER};',
        '    "~^0:" $lab_needs;',
        f'    "1:0::/metrics" {OPERATOR};',
        '    default "";',
        "}",
    ]


def claimed() -> list[str]:
    """Without a script: the claims as NGINX reads them. A list has commas between its items, so an
    item with a comma in it reads as several."""
    claims = " ".join(f"$jwt_claim_{name}" for name in ("scope", "scp", "roles"))
    return [f'map "" $lab_claimed {{ default " {claims} "; }}']


def judged() -> list[str]:
    """Of the server. It stands here, and not in nginx.conf, so that it holds in a lab with an
    nginx.conf from before as well."""
    return [
        "# What its scope does not cover, a token does not open: 403.",
        "auth_jwt_require $lab_may error=403;",
    ]


def operators(page: Sequence[str]) -> list[str]:
    """Of the location that shows an operator the gateway's own metrics.

    Args:
        page: lines that answer with them; none where nobody can.
    """
    if not page:
        return ["return 404;"]
    return [
        "auth_jwt_require $token_subject_ok $token_crit_ok $token_ok;",
        "auth_jwt_require $lab_operates error=403;",
        "access_log off;                     # nobody asks a model here",
        *page,
    ]
