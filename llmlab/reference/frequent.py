"""What people run into most, and more than an error has room to say of it."""

from __future__ import annotations

# (it says, why and what to do). In what it says, NAME and the like stand for what differs, and
# `...` for the rest of the sentence.
FREQUENT = (
    (
        "`the notebook needs JupyterLab`",
        "`pip install 'llmlab[notebook]'`",
    ),
    (
        "`port PORT is taken by ...`",
        "another program, or another lab: `llmlab up --port 8001`, or `gateway.port` in "
        "`configs/lab.toml` for good",
    ),
    (
        "`NAME cannot serve, so FALLBACK answers in its place`",
        "no way to the hub; the embedded model answers. `llmlab models pull NAME` later, "
        'or `source = "path:..."`',
    ),
    (
        "`tuning needs the packages ...`",
        "`pip install 'llmlab[tune]'`",
    ),
    (
        "`the training data shares texts with suites`",
        "a model that has seen the exam proves nothing: take them out, or `--force-overlap`, "
        "and its record says so",
    ),
    (
        "`a tune of NAME was broken off that was asked for otherwise`",
        "the same command as then goes on with it; `--fresh` begins anew",
    ),
    (
        "`NAME needs the packages ...`",
        "`pip install 'llmlab[models]'`; only to convert it, or for `runtime = "
        '"transformers"`. Or convert it elsewhere: the folder that `llmlab models pull` '
        "prints is a `path:` source",
    ),
    (
        "`... cannot run NAME: it has no packages for the runtime ...`",
        "the API image was built for other models: `llmlab build --extra models`",
    ),
    (
        "`... cannot be run by ctranslate2 as it is by transformers`",
        'its decoding or its architecture; `runtime = "transformers"` in its table of '
        "`configs/lab.toml`",
    ),
    (
        "`... have another content than they should`, `... is expected`",
        "a registered model's file was changed: `llmlab models verify` names it; adding or "
        "importing the same model mends it",
    ),
    (
        "`... is not as it was converted`",
        "a file in the store was changed: `llmlab models pull NAME`",
    ),
    (
        "`NGINX rejects the configuration, so it was not taken over`",
        "the line it names is in `nginx.conf`; the running gateway goes on as it was",
    ),
    (
        "`the configuration could not be checked`",
        "not NGINX's verdict: its container did not start, and Docker says why; the running "
        "gateway goes on as it was",
    ),
    (
        '`... should look like "2r/s" or "30r/m"`',
        "a value is wrong: its path is told, and whether it is from `lab.toml`, a variable or a "
        "flag",
    ),
    (
        "`URL cannot be reached`",
        "the lab is down: `llmlab up`",
    ),
    (
        "`401: This address needs a valid token`",
        "an old `LLMLAB_TOKEN`, or a revoked key: `llmlab token | llmlab token --decode -`",
    ),
    (
        "`429: Too many requests wait for this model`",
        "the model has more to do than it can: fewer at a time (`--concurrency`), more cores "
        "(`service.replicas`), or a longer `service.queue` and `--timeout`",
    ),
    (
        "`504: No summary within ...`",
        "of the time that is named, `service.timeout` or the client's own (`--timeout`)",
    ),
    (
        "`404: X-Model names no deployment`",
        "`llmlab status` has the names; without the header, the lab chooses",
    ),
    (
        "`requests are routed to NAME`",
        "end the rollout, or `llmlab deployment stop NAME --force` takes the routes away too",
    ),
    (
        "`nginx.conf does not use ...`",
        "it was written for an earlier llmlab: `llmlab init FOLDER` lays out one to compare "
        "it with",
    ),
    (
        "`429: The rate limit is reached`",
        "`summarize` and the clients keep to the rate by themselves, which the gateway tells "
        "them (`RateLimit-Policy`): 500 files are 4 minutes at 2 a second. Others use the "
        "same subject up, or `--retry` is too short; raise `gateway.rate_limit.rate` if it is "
        "too slow",
    ),
    (
        "`api-NAME does not start`, with lines of its log",
        "the model cannot be loaded; `llmlab logs api-NAME` has all of it",
    ),
    (
        "`nobody watches the lab's processes`",
        "supervisor and keeper were killed, or are stopped; `llmlab up` takes the processes "
        "over, and no request is lost",
    ),
    (
        "`is damaged`, `is empty, and was not before`",
        "put a copy of that file in its place; without one, move it away, and `llmlab up` "
        "starts from `configs/lab.toml`",
    ),
)
