# The notebooks' image: JupyterLab, and llmlab's client. Built by `llmlab build`, from the
# same context as the API image; of it are used here:
#   llmlab/            the package
#   install/           what is installed: notebook.txt, and wheels to prefer over the index
FROM python:3.11-slim

# Of an index without credentials; `llmlab build` gives them as secrets, which leave no trace.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONPATH=/opt/llmlab

# The optional secret `ca` is a bundle of the certificates that pip has to trust.
# The last line: no question about news on the first page, and no look for updates.
RUN --mount=type=bind,target=/context \
    --mount=type=secret,id=ca,target=/run/ca.pem \
    --mount=type=secret,id=PIP_INDEX_URL --mount=type=secret,id=PIP_EXTRA_INDEX_URL \
    if [ -s /run/ca.pem ]; then export PIP_CERT=/run/ca.pem; fi && \
    for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL; do if [ -s /run/secrets/$name ]; then \
      export $name="$(cat /run/secrets/$name)"; fi; done && \
    pip install --find-links /context/install/wheels -r /context/install/notebook.txt && \
    jupyter labextension disable --level=system "@jupyterlab/apputils-extension:announcements"

COPY llmlab /opt/llmlab/llmlab
RUN python -m compileall -q --invalidation-mode unchecked-hash /opt/llmlab && \
    python -c "from llmlab import Client" && \
    useradd --uid 1000 --gid 100 --create-home jovyan && \
    install -d -o jovyan -g 100 /home/jovyan/notebooks

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="llmlab notebooks" \
      org.opencontainers.image.description="JupyterLab with llmlab's client" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

USER jovyan
WORKDIR /home/jovyan
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser"]
