# natkit: `make run` starts a server to try, `make test` checks everything.  Each sets up what it
# needs first, in .venv, from lock files with hashes.

.DEFAULT_GOAL := help
.PHONY: help run test check unit peers soak benchmark format lock bpf environment

# The port that `make run` listens on.
PORT ?= 3478
# Where its status page is; port 0 is a free one.
ADMIN ?= 127.0.0.1:0
# Tests that run at once.
JOBS ?= 2
# Files of tests with peers that do: most of their time they wait for those.
PEER_JOBS ?= 3
# How much larger than its full size a soak is.
SOAK_SCALE ?= 1

BIN := .venv/bin

help:
	@echo 'make run             start stun-server on loopback, ready to be tried (PORT=3478)'
	@echo 'make test            all that CI checks: check, unit, peers'
	@echo '  make check           ruff, mypy, import-linter'
	@echo '  make unit            tests without foreign software (JOBS=2)'
	@echo '  make peers           tests against coturn, BIND 9 … as present (PEER_JOBS=3); PEERS=install installs them'
	@echo 'make soak            the same tests at full size (SOAK_SCALE=1)'
	@echo 'make benchmark       our server beside coturn, and on virtual cables as root, our lookups beside sip-dig, kept flows, ICE, SIP; writes docs/benchmarks.md'
	@echo 'make format          format the code'
	@echo 'make lock            renew the lock files'
	@echo 'make bpf             compile the relay plane in the kernel, which is in the repository as it is compiled'

# exec: the server is the recipe, so Ctrl-C, SIGTERM and its exit status are its own.
run:
	@scripts/environment.sh run && exec $(BIN)/stun-server quickstart --port $(PORT) --admin $(ADMIN)

test:
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory peers

environment:
	@scripts/environment.sh dev

check: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

unit: environment
	$(BIN)/python -m pytest -n $(JOBS) -m 'not peer'

peers: environment
ifneq ($(filter true,$(CI))$(filter install,$(PEERS)),)
	$(BIN)/python -m tests.peering.install
endif
	$(BIN)/python -m pytest -n $(PEER_JOBS) --dist loadfile -m peer

soak: environment
	SOAK=1 SOAK_SCALE=$(SOAK_SCALE) $(BIN)/python -m pytest -m soak --timeout 0

benchmark: environment
	@missed=0; for one in relay relay.cables relay.program locate keepalive ice sip; do $(BIN)/python -m benchmarks.$$one || missed=1; done; exit $$missed

format: environment
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:
	scripts/lock.sh

bpf:
	scripts/bpf.sh
