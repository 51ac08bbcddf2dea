# `make` or `make help` lists what there is. Every target installs what it
# needs beyond Go through tools/setup. Flags pass through ARGS:
#   make run ARGS="--api-listen 127.0.0.1:9080"

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test unit client-js client-csharp e2e lint fmt bench bench-peers drill up down status build image FORCE

ARGS      ?=
PKG       ?= ./...
SCENARIOS ?= idle connect notify
IMAGE     ?= homing:latest
# The race detector needs a C compiler; without one Go turns cgo off.
RACE      := $(if $(filter 1,$(shell go env CGO_ENABLED 2>/dev/null)),-race)
LINT      := go tool -modfile=$(CURDIR)/tools/go.mod golangci-lint
# The Go client is a module of its own, which ./... does not name.
CLIENT    := client/go
E2E       := bench/e2e
# The example of a chat, whose packages its own readers install.
CHAT      := deploy/examples/chat
CLIENT_JS := client/js
CHROMIUM  ?= $(shell for b in chromium chromium-browser google-chrome google-chrome-stable; do command -v $$b && break; done)

define section
@printf '\n== %s\n' "$(1)"
endef

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

run: build ## start Homing for development and print the page's address (needs only Go)
	@exec bin/homing dev $(ARGS)

build: bin/homing ## build the one binary into bin/homing

bin/homing: FORCE
	@tools/setup go
	@[ -e $@ ] || echo 'building $@: the first time takes a few minutes, later ones seconds'
	@CGO_ENABLED=0 go build -buildvcs=auto -trimpath -ldflags "-s -w" -o $@ ./cmd/homing

test: unit client-js e2e ## run every test: Go with real Redis, the JavaScript client, then Node clients and a browser
	@printf '\n== all tests passed\n'

unit: ## run the Go tests only (PKG=./front/... narrows them)
	@tools/setup go redis browser node mono proxies snippets
	$(call section,unit and integration tests: go test $(RACE) $(PKG))
	@go test $(RACE) -shuffle=on -timeout 10m $(PKG)
ifeq ($(PKG),./...)
	@go -C $(CLIENT) test $(RACE) -shuffle=on -timeout 10m ./...
endif
ifneq ($(RACE),)
ifeq ($(PKG),./...)
	$(call section,the relay's model without the race detector: 10000 schedules)
	@go test -run '^TestModel$$' ./hub/relay
endif
endif

client-js: $(CLIENT_JS)/node_modules/.package-lock.json ## run the JavaScript client's tests only: types, size, tarball, conformance
	@tools/setup go node
	$(call section,the JavaScript client: $(CLIENT_JS))
	@npm test --silent --prefix $(CLIENT_JS)

client-csharp: ## compile the C# client with Mono into bin/csharp and run its unit tests
	@tools/setup mono
	@client/csharp/Tests~/build bin/csharp
	@mono --debug bin/csharp/unit.exe

e2e: build $(E2E)/node_modules/.package-lock.json $(CLIENT_JS)/node_modules/.package-lock.json $(CHAT)/node_modules/.package-lock.json ## run the end-to-end tests only: Node WebSocket clients, headless Chromium
	@tools/setup redis browser node mono
	$(call section,end-to-end tests: $(E2E))
	@npm run build --silent --prefix $(CLIENT_JS)
	@CHROMIUM='$(CHROMIUM)' npm test --silent --prefix $(E2E)

%/node_modules/.package-lock.json: %/package.json %/package-lock.json
	@tools/setup node
	$(call section,npm ci: $*)
	@npm ci --no-audit --no-fund --loglevel=error --prefix $*
	@touch $@

lint: ## check style, bugs and the import rule (the first run builds the linter, minutes; PKG narrows it)
	@tools/setup go
ifeq ($(PKG),./...)
	@for d in . $(CLIENT); do (cd $$d && $(LINT) fmt --diff ./... && $(LINT) run ./...) || exit 1; done
else
	@$(LINT) fmt --diff $(PKG) && $(LINT) run $(PKG)
endif

fmt: ## format the Go code in place
	@tools/setup go
	@for d in . $(CLIENT); do (cd $$d && $(LINT) fmt ./...) || exit 1; done

bench: build ## measure this machine (SCENARIOS="idle connect notify", ARGS="--conns 20000")
	@tools/setup redis
	@for s in $(SCENARIOS); do printf '\n== homing bench %s %s\n' "$$s" '$(ARGS)'; bin/homing bench $$s $(ARGS); done

bench-peers: build ## measure Homing, Socket.IO and centrifuge side by side (ARGS="--conns 20000")
	@tools/setup redis node
	@bin/homing bench peers $(ARGS)

drill: build ## break things under load and account for every message (ARGS="kill-worker --json")
	@tools/setup redis
	@bin/homing drill $(ARGS)

up: $(if $(NODES),build) ## start a local Redis topology: 3 masters with 2 replicas each, 3 Sentinels; NODES=8: and a fleet of fronts on it
	@tools/setup go redis
	@go run ./deploy/local up $(NODES)

down: ## stop what `make up` started
	@go run ./deploy/local down

status: ## show what `make up` started
	@go run ./deploy/local status

image: ## build the container image with docker or podman (IMAGE=name:tag)
	@engine=; for e in docker podman; do \
		if command -v $$e >/dev/null && $$e info >/dev/null 2>&1; then engine=$$e; break; fi; \
	done; \
	if [ -z "$$engine" ]; then \
		echo 'image: no container engine runs here: start Docker or install Podman, then try again' >&2; exit 1; \
	fi; \
	$$engine build -f deploy/Dockerfile -t $(IMAGE) .

FORCE:
