"""Names that mean something to the lab: of routes, whose others are a person's choice, and of what
an API is asked by."""

SUMMARIZE = "summarize"  # behind /summarize/; every lab has it
CHAT = "chat"  # what a request in OpenAI's dialect goes by if it names none

# What an API counts as requests to its model, as its metrics name them.
ASKS_MODEL = frozenset({
    "/summarize", "/summarize/", "/v1/chat/completions", "/v1/completions", "/v1/embeddings",
})  # fmt: skip
