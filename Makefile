# make up    install into .venv and start the lab
# make test  the whole test suite; needs no Docker
# make test-quick what takes no running lab, no other processes and no third of a second: a minute
# make test-containers  the lab in containers, with a real Docker engine
# make test-conformance the API beside its OpenAPI document, and the tables of standards
# make test-prometheus  metrics, rules and dashboard, with a real Prometheus
# make test-machines    the engine ray, with several nodes on this machine that are killed
# make test-waf      a WAF for real, with Debian's ModSecurity and OWASP's rules
# make test-presidio    the guard by Presidio, with the real one: 250 MB that nothing else needs
# make test-delivery    two minutes of load under each engine while versions come and go
# make test-browser     notebook and console in a headless Chromium, under both engines; axe-core
# make bench-edge       what TLS, API keys and budgets cost at the gateway: 4 minutes; wants wrk
# make bench-console    what 50 open consoles cost a lab, and whether one leaks: 15 minutes; wants wrk
# make bench-machines   what becomes of requests when machines of a Ray cluster die: 12 minutes
# make bench-serve      the same API behind Ray Serve, and behind NGINX: 3 minutes; wants wrk
# make bench-nodes      a lab whose nodes are killed, what they do and what a link costs: 25 minutes;
#                       wants wrk, and taskset (util-linux)
# make docs             the site of docs/, into site/; a dead link is an error
# make dist             sdist and wheel, into dist/; by the build backend that is installed
# make reference  docs/reference/, docs/llms.txt and configs/lab.toml anew, from the code
# make bench            llmlab beside LitServe, Ray Serve and the reference lab: 25 minutes on
#                       two cores that have nothing else to do; make bench BENCH=--quick: 3
# make bench-gate       how often the gate of rollouts is wrong: 200 rollouts in each of 46 worlds, and more
# make bench-drills     how soon the gate gives back what goes wrong, under both engines: 40 minutes
# make bench-overload   llmlab under three times the load that it can answer: 5 minutes
# make bench-chat       chat beside llama.cpp's own server, and a model elsewhere beside a plain
#                       proxy_pass: 10 minutes; make bench-chat BENCH=--quick: 2

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check --quiet

# Where it is set, every test process would compile every test anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: up down test test-quick test-containers test-conformance test-prometheus test-waf test-machines test-presidio test-delivery test-browser bench bench-gate bench-drills bench-overload bench-chat bench-edge bench-console bench-machines bench-nodes bench-serve docs dist reference lint clean

up: $(VENV)/.models
	@$(BIN)/llmlab up
	@echo "(the commands are in $(BIN)/; or: . $(BIN)/activate)"

down:
	@$(BIN)/llmlab down

test: $(VENV)/.dev
	$(BIN)/python -m pytest

test-quick: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 -m 'not slow and not containers and not conformance and not presidio and not waf and not prometheus and not machines'

test-containers: $(VENV)/.dev
	$(BIN)/python -m pytest -n 3 -m 'containers and not browser and not delivery'

test-conformance: $(VENV)/.dev
	$(BIN)/python -m pytest -n 0 -m conformance

test-prometheus: $(VENV)/.dev
	$(BIN)/python -m pytest -m 'prometheus and not containers'

test-waf: $(VENV)/.dev
	$(BIN)/python -m pytest -m 'waf and not containers'

test-machines: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 -m machines

test-presidio: $(VENV)/.dev
	@$(PIP) install -e '.[presidio]'
	$(BIN)/python -m pytest -n 0 -m presidio

test-delivery: $(VENV)/.dev
	$(BIN)/python -m pytest -n 0 -m 'delivery and alone'
	$(BIN)/python -m pytest -n 2 -m 'delivery and not alone'

test-browser: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m browser

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks $(BENCH)

bench-gate: $(VENV)/.models
	$(BIN)/python -m benchmarks.gate $(BENCH)

bench-drills: $(VENV)/.models
	$(BIN)/python -m benchmarks.drills $(BENCH)

bench-overload: $(VENV)/.bench
	$(BIN)/python -m benchmarks.overload $(BENCH)

bench-chat: $(VENV)/.models
	$(BIN)/python -m benchmarks.chat $(BENCH)

bench-edge: $(VENV)/.models
	$(BIN)/python -m benchmarks.edge $(BENCH)

bench-console: $(VENV)/.models
	$(BIN)/python -m benchmarks.console $(BENCH)

bench-machines: $(VENV)/.ray
	$(BIN)/python -m benchmarks.machines $(BENCH)

bench-nodes: $(VENV)/.ray
	$(BIN)/python -m benchmarks.nodes $(BENCH)

bench-serve: $(VENV)/.bench
	$(BIN)/python -m benchmarks.serve $(BENCH)

docs: $(VENV)/.docs
	$(BIN)/zensical build --strict --clean

dist: $(VENV)/.dev
	@rm -rf dist
	$(BIN)/python -m build --no-isolation

reference: $(VENV)/.models
	@$(BIN)/python -m llmlab.reference docs --lab-toml configs/lab.toml

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	@test ! -x $(BIN)/llmlab || $(BIN)/llmlab down
	rm -rf $(VENV) benchmarks/work site dist
	@# What is registered, and the ledger, are no products of the build: they stay.
	@test ! -d .llmlab || find .llmlab -mindepth 1 -maxdepth 1 ! -name registry ! -name 'delivery.db*' -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Error: llmlab needs Python 3.11 or newer, and $(PYTHON) is older."; \
	  echo "Fix: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 3; }
	$(PYTHON) -m venv $(VENV)

# torch comes first and by itself, with its upper bound: so pip takes a CPU build
# where its configuration offers one, and no other package can widen the choice.
$(VENV)/.models: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV); torch alone is some 200 MB."
	@$(PIP) install 'torch>=2.4,<2.14'
	@$(PIP) install -e '.[tune,chat]'
	@touch $@

$(VENV)/.dev: $(VENV)/.models
	@$(PIP) install -e '.[tune,chat,notebook,ray,dev]'
	@touch $@

$(VENV)/.docs: pyproject.toml | $(BIN)/python
	@$(PIP) install -e '.[docs]'
	@touch $@

$(VENV)/.bench: $(VENV)/.models
	@$(PIP) install -e '.[tune,chat,bench]'
	@touch $@

$(VENV)/.ray: $(VENV)/.models
	@$(PIP) install -e '.[tune,chat,ray]'
	@touch $@
