"""The client library.

    from llmlab import Client

    with Client() as client:
        print(client.summarize("A long text.").text)
        print(client.chat("Why put a gateway before a model?").text)
        with client.stream("Once more, word by word.") as stream:
            for piece in stream:
                print(piece, end="")

URL and token come from the arguments, from LLMLAB_URL and LLMLAB_TOKEN (or the file
that LLMLAB_TOKEN_FILE names), or from the running lab around the working folder, in this
order.
"""

from llmlab.client.chat import Reply, Tokens
from llmlab.client.client import AsyncClient, Client
from llmlab.client.protocol import Summary
from llmlab.client.retry import RetryPolicy
from llmlab.client.stream import AsyncStream, Stream
from llmlab.errors import AuthError, LlmlabError, UpstreamError, UsageError
from llmlab.service.schemas import Progress

__all__ = [
    "AsyncClient",
    "AsyncStream",
    "AuthError",
    "Client",
    "LlmlabError",
    "Progress",
    "Reply",
    "RetryPolicy",
    "Stream",
    "Summary",
    "Tokens",
    "UpstreamError",
    "UsageError",
]
