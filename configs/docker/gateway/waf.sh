#!/bin/sh
# The WAF's NGINX in the foreground. The socket of one that was killed would be in its way.
set -eu
rm -f /run/waf/waf.sock
exec nginx -e stderr -p /run/llmlab/ -c /etc/llmlab-waf/nginx.conf -g 'daemon off;'
