"""Names of routes that mean something to the lab; all others are a person's choice."""

SUMMARIZE = "summarize"  # behind /summarize/; every lab has it
CHAT = "chat"  # what a request in OpenAI's dialect goes by if it names none
