# The one place with commands: `make help` lists them. CI calls these targets and nothing else (.ci/run).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

ROOT := $(CURDIR)
# Where the test control plane of `make cluster` and `make run` keeps its state.
WINDLASS_DIR ?= /tmp/windlass-cluster
CARGO ?= cargo
CARGO_TARGET_DIR ?= $(ROOT)/target
export CARGO_TARGET_DIR
# One selection of packages for build, test and clippy: with another one cargo unifies features anew and compiles
# hundreds of crates again.
ALL = --workspace $(LOCKED)
# CI sets it to --locked.
LOCKED ?=
export LOCKED
# -trimpath is part of Go's cache keys: the same for build, vet and test, or all of Kubernetes is compiled twice.
GO := GOFLAGS="-mod=readonly -trimpath" go
CLUSTER := tests/cluster
# End-to-end tests that measure seconds.
TIMED := defaults:: leader:: rest::
# One that keeps both cores busy, on a control plane of its own.
BUSY := hpa_wiring::
# Arguments for the test programs, e.g. `make test-e2e ARGS=broker`.
ARGS ?=

# The programs under test, for the Rust test helpers. A target that uses RIG_ENV depends on cluster-build, since a build
# that fails inside an assignment stops nothing.
RIG_ENV = WINDLASS_RIG_BIN="$$($(CLUSTER)/build.sh | tail -1)"
BIN_ENV = WINDLASS_BIN="$(CARGO_TARGET_DIR)/debug/windlass"

.PHONY: help setup build test test-unit test-it test-disasters test-hpa test-sources test-e2e test-cluster-unit test-cluster-smoke test-scripts crate-alone lint doc crd \
	cluster cluster-build run demo bench-kafka bench-latency bench-sim audit clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-20s %s\n", $$1, $$2}' Makefile

setup: ## installs the system packages that are missing (as root, Debian), checks Rust, Go and Java
	@scripts/setup.sh

build: ## the workspace in debug, tests included: target/debug/windlass
	$(CARGO) build $(ALL) --all-targets

test: ## everything that tests: sets up what it needs, starts its own control plane and brokers
	@scripts/stage.sh setup $(MAKE) setup
	@scripts/stage.sh cluster-build $(MAKE) cluster-build
	@scripts/stage.sh build $(MAKE) build
	@scripts/stage.sh test-scripts $(MAKE) test-scripts
	@scripts/stage.sh test-cluster-unit $(MAKE) test-cluster-unit
	@scripts/stage.sh test-unit $(MAKE) test-unit
	@scripts/stage.sh test-it $(MAKE) test-it
	@scripts/stage.sh test-disasters $(MAKE) test-disasters
	@scripts/stage.sh test-hpa $(MAKE) test-hpa
	@scripts/stage.sh test-sources $(MAKE) test-sources
	@scripts/stage.sh test-cluster-smoke $(MAKE) test-cluster-smoke
	@scripts/stage.sh test-e2e $(MAKE) test-e2e

test-unit: ## unit and documentation tests of all crates
	$(CARGO) test $(ALL) --lib --bins -- $(ARGS)
	$(CARGO) test $(ALL) --doc

test-it: build ## integration tests without a cluster, in seconds
	$(BIN_ENV) $(CARGO) test $(ALL) --test it --test management_api --test metrics_api -- $(ARGS)

test-disasters: ## thousands of simulated disasters, each drawn from a seed; WINDLASS_SEEDS sets how many
	$(CARGO) test $(ALL) --test disasters -- --nocapture --test-threads 1 $(ARGS)

test-hpa: ## the HPA algorithm held against Kubernetes' own, in virtual time
	@mkdir -p "$(CARGO_TARGET_DIR)"
	cd $(CLUSTER) && $(GO) test -c -o "$(CARGO_TARGET_DIR)/hpa.test" ./hpa
	WINDLASS_HPA_TEST="$(CARGO_TARGET_DIR)/hpa.test" $(CARGO) test $(ALL) --test hpa -- --nocapture $(ARGS)

test-sources: ## the sources against real servers, without a cluster
	$(CARGO) test $(ALL) --test kafka_broker --test prometheus_server --test rabbitmq_broker --test sqs_server -- $(ARGS)

test-e2e: cluster-build build ## end-to-end tests on a real control plane with a real RabbitMQ
	@# They wait for most of their time, so more than the cores run at once; those that measure seconds run after the rest.
	$(RIG_ENV) $(BIN_ENV) RUST_TEST_THREADS=$${RUST_TEST_THREADS:-5} $(CARGO) test $(ALL) --test e2e -- $(if $(ARGS),$(ARGS),$(patsubst %,--skip %,$(TIMED) $(BUSY)))
	$(if $(ARGS),,$(RIG_ENV) $(BIN_ENV) RUST_TEST_THREADS=$${RUST_TEST_THREADS:-3} $(CARGO) test $(ALL) --test e2e -- $(TIMED))
	$(if $(ARGS),,$(RIG_ENV) $(BIN_ENV) $(CARGO) test $(ALL) --test e2e -- $(BUSY))

test-cluster-unit: ## Go tests of the test control plane's own code, without one
	cd $(CLUSTER) && $(GO) test ./internal/...

test-cluster-smoke: cluster-build ## starts a control plane and checks that it is one
	cd $(CLUSTER) && WINDLASS_RIG_BIN="$$(./build.sh | tail -1)" $(GO) test -count=1 -tags smoke ./smoke

test-scripts: ## tests of the scripts that CI leans on
	@scripts/test-stage.sh

crate-alone: ## checks that the light crates build by themselves
	for crate in decision crd ml api; do $(CARGO) check $(LOCKED) -p "windlass-$$crate"; done

lint: ## format, clippy, vet, crates alone, shell scripts, style of logs and errors
	@scripts/stage.sh lint-format $(CARGO) fmt --all --check
	@scripts/stage.sh lint-style scripts/check-style.sh
	@scripts/stage.sh lint-go scripts/lint-go.sh
	@scripts/stage.sh lint-clippy $(CARGO) clippy $(ALL) --all-targets -- -D warnings
	@scripts/stage.sh crate-alone $(MAKE) crate-alone

doc: ## API documentation of the workspace: target/doc
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(ALL) --no-deps

crd: ## writes the CRDs in deploy anew from the types
	$(CARGO) build $(ALL) --bins
	mkdir -p deploy/crds
	"$(CARGO_TARGET_DIR)/debug/windlass" crd >deploy/crds/.new && mv deploy/crds/.new deploy/crds/windlass.dev.yaml
	"$(CARGO_TARGET_DIR)/debug/windlass" crd --group keda.sh >deploy/crds/.new && mv deploy/crds/.new deploy/keda-compat/crds.yaml

cluster-build: ## builds the test control plane (minutes once, then cached outside the tree)
	@$(CLUSTER)/build.sh

cluster: cluster-build ## starts a test control plane in the foreground, state in WINDLASS_DIR; Ctrl-C ends it
	@bin="$$($(CLUSTER)/build.sh | tail -1)"; echo "export KUBECONFIG=$(WINDLASS_DIR)/admin.kubeconfig"; \
	exec "$$bin/rig" up --dir "$(WINDLASS_DIR)" $(ARGS) >/dev/null

run: setup cluster-build build ## the main job: control plane, RabbitMQ, operator and an example that scales 0 -> 4 -> 0
	$(RIG_ENV) $(BIN_ENV) "$(CARGO_TARGET_DIR)/debug/run" $(ARGS)

demo: ## the product without a cluster: a day of five workloads in two minutes
	$(CARGO) run --release $(LOCKED) -p windlass -- demo $(ARGS)

bench-sim: ## what the simulator costs: disasters, a replay of 30 days, the demo (release build)
	$(CARGO) build --release $(LOCKED) -p windlass -p windlass-tests
	"$(CARGO_TARGET_DIR)/release/windlass-tests" hunt --count 2000 $(ARGS)
	$(CARGO) test --release $(LOCKED) -p windlass-simulate cost -- --nocapture
	$(CARGO) test --release $(LOCKED) -p windlass-decision cost -- --nocapture
	time "$(CARGO_TARGET_DIR)/release/windlass" demo --headless --speed 20000 --for 4320ms | tail -6

bench-latency: setup cluster-build ## publish to /scale and to Ready, p50 and p99; 1,000 objects (release build, many minutes)
	$(CARGO) build --release $(LOCKED) -p windlass -p windlass-tests
	$(RIG_ENV) WINDLASS_BIN="$(CARGO_TARGET_DIR)/release/windlass" "$(CARGO_TARGET_DIR)/release/bench-latency" $(ARGS)

bench-kafka: setup cluster-build ## CPU, threads, sockets and memory with 1,000 Kafka triggers (release build, about ten minutes)
	$(CARGO) build --release $(LOCKED) -p windlass -p windlass-tests
	$(RIG_ENV) WINDLASS_BIN="$(CARGO_TARGET_DIR)/release/windlass" "$(CARGO_TARGET_DIR)/release/bench-kafka" $(ARGS)

audit: ## licences, advisories, banned and unused dependencies (needs cargo-deny and cargo-machete)
	@for tool in deny machete; do command -v "cargo-$$tool" >/dev/null || { echo "cargo-$$tool is missing: cargo install --locked cargo-$$tool" >&2; exit 1; }; done
	$(CARGO) deny check
	$(CARGO) machete

clean: ## removes what was built in the tree; the caches outside it stay
	rm -rf target
