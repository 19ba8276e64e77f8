"""The client library.

    from llmlab import Client

    with Client() as client:
        print(client.summarize("A long text.").text)

URL and token come from the arguments, from LLMLAB_URL and LLMLAB_TOKEN (or the file
that LLMLAB_TOKEN_FILE names), or from the running lab around the working folder, in this
order.
"""

from llmlab.client.client import AsyncClient, Client
from llmlab.client.protocol import Summary
from llmlab.client.retry import RetryPolicy
from llmlab.errors import AuthError, LlmlabError, UpstreamError, UsageError
from llmlab.service.schemas import Progress

__all__ = [
    "AsyncClient",
    "AuthError",
    "Client",
    "LlmlabError",
    "Progress",
    "RetryPolicy",
    "Summary",
    "UpstreamError",
    "UsageError",
]
