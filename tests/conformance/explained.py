"""What schemathesis reports of a lab, and why each is as it should be."""

from __future__ import annotations

import re
from dataclasses import dataclass

SUMMARIZE = r"POST (/models/\{deployment\})?/summarize/"
WRITES = r"POST /v1/(chat/)?completions"


@dataclass(frozen=True)
class Failure:
    """One finding. ``operation``: as the document names it, below the method that was sent."""

    check: str
    operation: str
    status: int
    answer: str  # the body
    message: str  # schemathesis's own


@dataclass(frozen=True)
class Explained:
    """``operation`` and ``says`` are regular expressions; ``says`` is found in the answer or in
    the message."""

    check: str
    operation: str
    status: int
    says: str
    why: str

    def fits(self, failure: Failure) -> bool:
        return (
            self.check == failure.check
            and self.status == failure.status
            and re.fullmatch(self.operation, failure.operation) is not None
            and re.search(self.says, f"{failure.answer}\n{failure.message}") is not None
        )


EXPLAINED = (
    Explained(
        "not_a_server_error", f"{SUMMARIZE}|{WRITES}", 504,
        r"No (summary|answer) within \S+ s \(X-Request-Timeout\)",
        "The client gave it less time than there is: 504 says so, and is no failure of the lab.",
    ),
    Explained(
        "positive_data_acceptance", SUMMARIZE, 422, r"min_length \d+ is above max_length \d+",
        "JSON Schema cannot compare two fields.",
    ),
    Explained(
        "positive_data_acceptance", SUMMARIZE, 422,
        r"m(ax|in)_length: Input should be a valid integer",
        "JSON Schema counts 9.0 among the integers; whoever sends it has mistaken something else "
        "for a length.",
    ),
    Explained(
        "negative_data_rejection", f"{SUMMARIZE}|{WRITES}", 200,
        r"in header - object with unexpected properties",
        "A header that nobody knows is ignored, as HTTP wants it (RFC 9110, 5.1).",
    ),
    Explained(
        "positive_data_acceptance", r"POST /v1/.*", 400, r"This model only summarizes\.",
        "What a request may say and what a model can honour are two things, and the document is of "
        "every model.",
    ),
    Explained(
        "positive_data_acceptance", r"POST /v1/.*", 400,
        r'"\w+: Input should be a valid integer|"(prompt|input): Input should be a valid string',
        "9.0 is an integer of JSON Schema's, as above; in a list it is the number of no token.",
    ),
    Explained(
        "positive_data_acceptance", WRITES, 400,
        r"top_logprobs needs|tool_choice|(json_schema|content|tool_call_id) is missing",
        "Fields that need each other: said in words, where a schema would say it in a page.",
    ),
    Explained(
        "unsupported_method", r"POST /", 422, r"The body is empty",
        "Hugging Face's clients post to the address itself. What they send and read is their "
        "hub's interface, and no part of this document.",
    ),
)  # fmt: skip
