# The API image. Built by `llmlab build`, which lays out the build context:
#   llmlab/                   the package
#   install/torch.txt         what is installed first: torch and its bound, or nothing
#   install/requirements.txt  everything else
#   install/wheels/           wheels to prefer over the index, such as a CPU build of torch
#   model/                    the files of a model to bake in, or nothing
#   settings.json             what the image serves when no other settings are mounted
FROM python:3.11-slim

# Of an index without credentials; `llmlab build` gives them as secrets, which leave no trace.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONPATH=/opt/llmlab \
    HF_HUB_OFFLINE=1 HOME=/tmp

# What runs language models wants GNU's OpenMP of the system; everything else brings its own.
RUN --mount=type=bind,source=install,target=/install \
    if grep -q ^xllamacpp /install/requirements.txt; then apt-get -qq update && \
      apt-get -qq install --no-install-recommends -y libgomp1 && rm -rf /var/lib/apt/lists/*; fi

# Dependencies are a layer of their own: a change of llmlab does not install torch again.
# The optional secret `ca` is a bundle of the certificates that pip has to trust.
RUN --mount=type=bind,source=install,target=/install \
    --mount=type=secret,id=ca,target=/run/ca.pem \
    --mount=type=secret,id=PIP_INDEX_URL --mount=type=secret,id=PIP_EXTRA_INDEX_URL \
    if [ -s /run/ca.pem ]; then export PIP_CERT=/run/ca.pem; fi && \
    for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL; do if [ -s /run/secrets/$name ]; then \
      export $name="$(cat /run/secrets/$name)"; fi; done && \
    if [ -s /install/torch.txt ]; then \
      pip install --find-links /install/wheels -r /install/torch.txt; fi && \
    pip install --find-links /install/wheels -r /install/requirements.txt

COPY model /opt/model
COPY llmlab /opt/llmlab/llmlab
# Nobody may write there later: without this each start would compile the package anew.
RUN python -m compileall -q --invalidation-mode unchecked-hash /opt/llmlab
COPY settings.json /etc/llmapi/settings.json

ARG VERSION=unknown
ARG REVISION=unknown
ARG RUNTIMES=
LABEL org.opencontainers.image.title="llmlab API" \
      org.opencontainers.image.description="Answers by one model version over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      llmlab.runtimes="$RUNTIMES"

USER 10001:10001
EXPOSE 80
ENTRYPOINT ["python", "-P", "-m", "llmlab.service"]
CMD ["/etc/llmapi/settings.json", "--host", "0.0.0.0", "--port", "80"]
