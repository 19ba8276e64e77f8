"""What the WAF goes by: the configuration of its NGINX, and its rules. Pure.

A finding is a redirect that nobody follows: its address says the score, and of which kinds of rules
it comes. That is how the gateway learns more than yes or no, from a module that tells NGINX nothing
else.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmlab.config.waf import Waf
from llmlab.waf.installed import MODULE, RULES, UNICODE

NGINX_CONF, RULES_CONF = "nginx.conf", "rules.conf"
# What waf.js sends at most; beside the texts, a request is short.
LONGEST = 131_072  # bytes
DEEPEST, ARGUMENTS = 64, 1000
SETUP = 334  # of which version's crs-setup.conf the settings below are
KINDS = {
    "sqli": "sql_injection", "xss": "xss", "rfi": "rfi", "lfi": "lfi", "rce": "rce",
    "php": "php_injection", "http": "http_violation", "session": "session_fixation",
}  # fmt: skip
# Rules that mistake what is ordinary here. 920350: a host that is a number, such as 127.0.0.1.
# 913101: the client is a program. 920420, 920480: which types a body may have, the APIs say.
# 949110, 980: what to do about a score, which is said below.
LEFT_OUT = ("920350", "913101", "920420", "920480", "949110", "980100-980999")


# What 3.3 does not look for, or not there: lookups of Log4j, templates that are evaluated, a
# command behind a separator. (id, where, what, kind, message)
COMMANDS = "nc|ncat|curl|wget|bash|sh|cat|python3?|perl|powershell"
SUPPLEMENT = (
    (200200, "ARGS|ARGS_NAMES|REQUEST_FILENAME|REQUEST_HEADERS",
     r"(?i)\$\{(?:jndi|env|sys|java|lower|upper|ctx|main|::-)", "rce", "Lookup of Log4j"),
    (200201, "ARGS|ARGS_NAMES|REQUEST_FILENAME|REQUEST_HEADERS",
     r"\{\{[^}]{0,200}(?:__\w|\d\s*\*\s*\d|\bconfig\b|\bself\b|\.constructor)", "rce",
     "Template that is evaluated"),
    (200202, "REQUEST_HEADERS|!REQUEST_HEADERS:User-Agent",
     rf"(?:^|[;|&`])\s*(?:{COMMANDS})\s+\S", "rce", "Command in a header"),
    (200203, "ARGS", r"^\s*[;|&]+\s*(?:id|whoami|uname|ls|pwd|env|ps|hostname)\s*$", "rce",
     "Command behind a separator"),
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a WAF stands.

    Args:
        listen: as NGINX takes it.
        rules: where its rules are, as its process finds them.
        user: "user group" of its workers, where its master is root; else "".
        audit: where its findings go.
    """

    listen: str
    rules: str
    user: str = ""
    audit: str = "/dev/stdout"


def render(waf: Waf, place: Place) -> dict[str, str]:
    """File name -> content."""
    return {NGINX_CONF: _nginx(place), RULES_CONF: _rules(waf, place)}


def _nginx(place: Place) -> str:
    user = f"user {place.user};\n" if place.user else ""
    return f"""# Rendered by llmlab; edits here are lost.
load_module {MODULE};
{user}worker_processes 2;
pid nginx.pid;
# An error names the address of a request, query and all: findings have a log of their own.
error_log stderr crit;
events {{
    worker_connections 1024;
}}
http {{
    access_log off;
    server_tokens off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    client_max_body_size {2 * LONGEST};
    client_body_buffer_size {2 * LONGEST};      # never written to disk
    client_header_timeout 5s;
    client_body_timeout 5s;
    keepalive_requests 100000;
    large_client_header_buffers 8 16k;      # more than the gateway takes
    modsecurity on;
    modsecurity_rules_file "{place.rules}";
    modsecurity_transaction_id $http_x_request_id;
    server {{
        listen {place.listen};
        location / {{
            # `return` would run before the body is looked at.
            try_files /nonexistent =204;
        }}
    }}
}}
"""


def _rules(waf: Waf, place: Place) -> str:
    kinds = "&".join(f"{short}=%{{tx.{name}_score}}" for short, name in KINDS.items())
    left_out = " ".join(LEFT_OUT)
    return f"""# Rendered by llmlab; edits here are lost.
SecRuleEngine On
SecRequestBodyAccess On
SecResponseBodyAccess Off
SecRequestBodyLimit {2 * LONGEST}
SecRequestBodyNoFilesLimit {2 * LONGEST}
SecRequestBodyLimitAction Reject
SecRequestBodyJsonDepthLimit {DEEPEST}
SecArgumentsLimit {ARGUMENTS}
SecPcreMatchLimit 100000
SecPcreMatchLimitRecursion 100000
SecTmpDir /tmp/
SecDataDir /tmp/
SecArgumentSeparator &
SecCookieFormat 0
SecUnicodeMapFile {UNICODE} 20127
# Findings alone, without headers and bodies.
SecAuditEngine RelevantOnly
SecAuditLogRelevantStatus "^(?:302|40[03]|413)$"
SecAuditLogParts AHZ
SecAuditLogFormat JSON
SecAuditLogType Serial
SecAuditLog {place.audit}
SecDefaultAction "phase:1,log,auditlog,pass"
SecDefaultAction "phase:2,log,auditlog,pass"
SecRule REQUEST_HEADERS:Content-Type "@rx ^application/json" \\
    "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
# What it cannot read it lets nobody pass with.
SecRule REQBODY_ERROR "!@eq 0" \\
    "id:200002,phase:2,t:none,deny,status:400,msg:'The body cannot be read'"
SecRule &ARGS "@ge {ARGUMENTS}" \\
    "id:200007,phase:2,t:none,deny,status:413,msg:'The body has too many fields'"
SecAction "id:900990,phase:1,nolog,pass,t:none,setvar:tx.crs_setup_version={SETUP},\\
    setvar:tx.paranoia_level={waf.paranoia},\\
    setvar:tx.inbound_anomaly_score_threshold={waf.threshold},\\
    setvar:'tx.allowed_methods=GET HEAD POST OPTIONS'"
{_supplement()}
Include {RULES}/REQUEST-*.conf
SecRuleRemoveById {left_out}
SecRule TX:ANOMALY_SCORE "@ge {waf.threshold}" \\
    "id:200100,phase:2,t:none,deny,status:302,msg:'Score %{{tx.anomaly_score}}',\\
    redirect:'/found?%{{tx.anomaly_score}}&{kinds}'"
"""


def _supplement() -> str:
    score = "%{tx.critical_anomaly_score}"
    return "\n".join(
        f'SecRule {where} "@rx {what}" \\\n'
        f"    \"id:{number},phase:2,t:none,t:urlDecodeUni,pass,msg:'{said}',\\\n"
        f"    logdata:'found within %{{MATCHED_VAR_NAME}}',\\\n"
        f"    setvar:'tx.{KINDS[kind]}_score=+{score}',\\\n"
        f"    setvar:'tx.anomaly_score_pl1=+{score}'\""
        for number, where, what, kind, said in SUPPLEMENT
    )
