# The WAF's image: Debian's NGINX with ModSecurity, and the OWASP Core Rule Set. It looks at requests
# that the gateway shows it, and passes none on. Built by `llmlab build` where lab.toml has
# gateway.waf.enabled, and by `llmlab build --only waf`; what it goes by is mounted.
FROM python:3.11-slim
RUN apt-get update && \
    apt-get install --yes --no-install-recommends \
      libnginx-mod-http-modsecurity modsecurity-crs && \
    rm -rf /var/lib/apt/lists/*
COPY --chmod=755 gateway/waf.sh /usr/local/bin/llmlab-waf

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="llmlab WAF" \
      org.opencontainers.image.description="ModSecurity and the OWASP Core Rule Set, asked by the gateway" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

STOPSIGNAL SIGQUIT
ENTRYPOINT ["llmlab-waf"]
