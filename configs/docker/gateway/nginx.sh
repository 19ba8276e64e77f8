#!/bin/sh
# The command `nginx` of the gateway image.
#
# With -c it is the binary of the local engine and nothing else: that is how the lab's own
# docker-compose.yml calls it. Without -c it runs /etc/nginx/nginx.conf the way NGINX Plus
# would: like-plus.conf, which says what that is, is included first thing in its http block.
# That happens in a copy, so the mounted file stays as it is. An edit is taken over with
# `nginx -s reload`, which comes through here again (a bare HUP would not).
set -eu
conf=/etc/nginx/nginx.conf
like_plus=/usr/local/share/llmlab/like-plus.conf

# The image's entry point puts `-g "daemon off;"` first. Whoever starts a container with a
# command line of their own says that word too, or means another thing: nginx -T.
if [ "${3-}" = nginx ]; then shift 3; fi

# A container that was killed has left its socket, and a new one could not listen there. One that
# only looks at a configuration (-t, -T) shares that folder with the gateway that runs.
looks=
for option in "$@"; do
  case $option in -[cegp]*) ;; -*[tTvVh?]*) looks=1 ;; esac
done
if [ "$$" = 1 ] && [ -z "$looks" ]; then rm -f /run/desk/gateway.settlements; fi

lab() { exec nginx-lab -p /run/llmlab "$@"; }

for option in "$@"; do
  case $option in -c*) lab "$@" ;; esac
done

# What is wrong with a file is better said of the file itself. One that decides about `exp`
# was written for this module and means what it says.
if ! whole=$(nginx-lab -p /run/llmlab -c "$conf" -T -q 2>/dev/null) ||
  ! printf '%s' "$whole" | grep -Eq '(^|[;{])[[:space:]]*auth_jwt[[:space:]]' ||
  printf '%s' "$whole" | grep -Eq '(^|[;{])[[:space:]]*auth_jwt_validate_exp[[:space:]]'; then
  lab -c "$conf" "$@"
fi

# The copy stands in a folder of links, so that names relative to /etc/nginx still hold.
# The folder is root's; where that cannot be written, everything here is one user's anyway.
work=/var/lib/llmlab
[ -w "$work" ] || work=/run/llmlab/etc
mkdir -p "$work"
for file in /etc/nginx/*; do
  [ "$file" = "$conf" ] || ln -sfn "$file" "$work/"
done
sed -E "0,/^[[:space:]]*http[[:space:]]*\{/s||& include $like_plus;|" "$conf" >"$work/.new"
mv "$work/.new" "$work/nginx.conf"
if ! grep -q "$like_plus" "$work/nginx.conf"; then
  echo "nginx.conf: no line starts with 'http {', so tokens without exp are refused" >&2
  lab -c "$conf" "$@"
fi
lab -c "$work/nginx.conf" "$@"
