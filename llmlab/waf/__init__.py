"""A web application firewall as an inspector of its own: an NGINX with ModSecurity and the OWASP
Core Rule Set, which the gateway asks about a request (llmlab/gateway/waf.js) and which passes
nothing on. It never sees a text."""
