# One build configuration everywhere: static binaries for this machine, so that the program that is
# tested is the program that runs in an image made from nothing.
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
HOST_UPPER := $(shell echo '$(HOST)' | tr 'a-z-' 'A-Z_')
export CARGO_BUILD_TARGET := $(HOST)
export CARGO_TARGET_$(HOST_UPPER)_RUSTFLAGS := -C target-feature=+crt-static
BIN := target/$(HOST)/debug
RELEASE := target/release-binary
VERSION := $(shell sed -n '0,/^version = /s/^version = "\(.*\)"/\1/p' Cargo.toml)
BINARIES := $(patsubst src/bin/%.rs,%,$(wildcard src/bin/*.rs))

ENGINE ?= $(firstword $(foreach engine,docker podman buildah,$(if $(shell command -v $(engine)),$(engine))))
IMAGE ?= lossless-upgrade:dev

# What is published, and the image that its manifests name.
DIST := target/dist
RELEASE_IMAGE ?= lossless-upgrade:$(VERSION)
# The release is built once more in here.
AGAIN := target/again

# The tests under tests/ that need no cluster; those of them that take minutes, whole programs and parts of one.
STORIES := --test procedure $(patsubst tests/%.rs,--test %,$(wildcard tests/*.rs))
LONG := $(addprefix --test ,faults model)
LONG_PARTS := $(addprefix --skip ,disturbances:: interruptions::)

# The fuzz targets, and how long each of them runs.
FUZZ := $(patsubst fuzz/targets/%.rs,%,$(wildcard fuzz/targets/*.rs))
FUZZ_SECONDS ?= 120
FUZZED := target/fuzz/$(HOST)/debug

MUTANTS := target/mutants

.DEFAULT_GOAL := help
.PHONY: help demo test unit cluster soak fuzz mutants check lint gen lab image bench release reproducible

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: build ## Upgrade a real nginx three ways under load, and count what each way loses (root, Linux)
	$(BIN)/lab demo

test: unit cluster ## Run everything: unit tests, stories, then the real cluster (root, Linux; else SKIPPED)

unit: ## Run the tests that need no cluster
	cargo test --no-fail-fast --workspace --lib --bins $(STORIES)

cluster: build ## Run the tests on a real cluster (root, Linux; else SKIPPED)
	cargo test --no-fail-fast --workspace --test traces --test cloud --test chart --test cluster

soak: build ## Over an hour: 300,000 random stories, each fault at each call, each crash, 30 kills, Tencent's monitoring, 10,000 looks, connections of a minute (root, Linux); SEED=n plays the kills again
	PROPTEST_CASES=300000 cargo test --workspace --test procedure -- whatever_happens
	SOAK=1 cargo test --workspace --test faults -- a_read_ a_write_ a_process_that_dies
	SOAK=1 cargo test --workspace --test cluster -- "killed at random"
	SOAK=1 cargo test --workspace --test cluster -- "in whole minutes"
	SOAK=1 cargo test --workspace --test cluster -- "look after look"
	SOAK=1 cargo test --workspace --test cluster -- "the real clients of"

bench: build binaries ## Measure the release build: start, memory, kubectl lu (root, Linux)
	BENCH=$(RELEASE) cargo test --workspace --test bench

fuzz: ## Fuzz everything that reads foreign text, FUZZ_SECONDS=120 each (cargo-fuzz, a C++ compiler)
	cargo fuzz build --dev --sanitizer none --target-dir target/fuzz
	@set -e; for target in $(FUZZ); do \
		mkdir -p target/fuzz/corpus/$$target; \
		echo "=== fuzz $$target"; \
		$(FUZZED)/$$target -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 -rss_limit_mb=1024 \
			-verbosity=0 -print_funcs=0 -print_final_stats=1 -artifact_prefix=target/fuzz/$$target- \
			target/fuzz/corpus/$$target fuzz/seeds/$$target; \
	done

# Each part alone with the tests that judge it, so that a mutant costs seconds and not a minute. Random
# tests play few cases: each mutant meets others, and a failed case need not be made small.
mutants: export PROPTEST_CASES ?= 64
mutants: export PROPTEST_MAX_SHRINK_ITERS = 0
mutants: export ONE_MOMENT_OF ?= 7
mutants: ## Change procedure and levers line by line and see whether tests notice (cargo-mutants, cargo-nextest; hours)
	@set -e; for part in workflow traffic; do \
		home=$(MUTANTS)/$$part; \
		rm -rf $$home/src $$home/tests && mkdir -p $$home/src $$home/tests $$home/.config; \
		cp tests/mutants/$$part/Cargo.toml Cargo.lock $$home/; \
		cp -r tests/mutants/$$part/lib.rs src/workflow src/traffic src/tencent src/web src/json.rs $$home/src/; \
		if [ $$part = workflow ]; then \
			cp tests/mutants/workflow/nextest.toml $$home/.config/; \
			cp -r tests/procedure tests/sim $$home/tests/; \
		fi; \
		echo "=== mutants of src/$$part"; \
		(cd $$home && cargo mutants --in-place --test-tool nextest --file "src/$$part/**" --timeout 300 $(MUTANTS_ARGS)) \
			|| [ $$? -eq 2 ]; \
	done
	@cat $(MUTANTS)/*/mutants.out/missed.txt

# The random stories: fewer of them where somebody waits for the answer.
check: export PROPTEST_CASES ?= 1000
check: lint ## Format, lints, unit tests, short stories: about a minute once built
	cargo test --workspace --lib --bins $(foreach test,$(filter-out --test $(LONG),$(STORIES)),--test $(test)) -- $(LONG_PARTS)

lint: ## Format and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

gen: build ## Write the CRD from the Rust types into crds/, and the chart's copies of deploy/
	$(BIN)/lossless-upgrade crd > crds/losslessupgrades.yaml.new
	mv crds/losslessupgrades.yaml.new crds/losslessupgrades.yaml
	cp crds/losslessupgrades.yaml deploy/chart/files/crd.yaml
	cp deploy/rbac.yaml deploy/chart/files/rbac.yaml
	cp deploy/drain-counter/rbac.yaml deploy/chart/files/drain-counter.yaml
	cp deploy/secrets/rbac.yaml deploy/chart/files/secrets.yaml
	cp deploy/exec/rbac.yaml deploy/chart/files/exec.yaml
	cp deploy/tke/rbac.yaml deploy/chart/files/tke.yaml
	cp deploy/policy/policy.yaml deploy/chart/files/policy.yaml
	cp deploy/alerts/prometheus-rule.yaml deploy/chart/files/alerts.yaml

lab: build ## Open a shell on the lab's cluster (root, Linux)
	$(BIN)/lab shell

image: ## Build the operator's image with docker, podman or buildah
	$(if $(ENGINE),,$(error no docker, podman or buildah found))
	$(ENGINE) build -t $(IMAGE) .

# Of the chart what is committed, with the time of the commit, so that the package comes out the same again.
# The lab builds the two programs that render; whoever has them on the PATH gets the same files.
release: export PATH := $(CURDIR)/target/lab/bin/helm:$(CURDIR)/target/lab/bin/kubernetes:$(PATH)
release: build binaries ## Make what is published: binaries, SBOM, manifests, chart, checksums (root, Linux; cargo-cyclonedx)
	$(BIN)/lab build
	rm -rf $(DIST) && mkdir -p $(DIST)
	for binary in $(BINARIES); do cp $(RELEASE)/$$binary $(DIST)/$$binary-$(VERSION)-x86_64-linux; done
	kubectl kustomize deploy | sed 's|lossless-upgrade:dev|$(RELEASE_IMAGE)|' > $(DIST)/lossless-upgrade-$(VERSION).yaml
	[ $$(grep -c '$(RELEASE_IMAGE)' $(DIST)/lossless-upgrade-$(VERSION).yaml) = 2 ]
	git archive HEAD deploy/chart | tar -x -C $(RELEASE)
	helm package $(RELEASE)/deploy/chart --destination $(DIST)
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) cargo cyclonedx --format json --spec-version 1.5 \
		--target $(HOST) --override-filename sbom
	sed 's|$(CURDIR)|/src|g' sbom.json > $(DIST)/lossless-upgrade-$(VERSION).cdx.json
	rm sbom.json tests/*/sbom.json
	cd $(DIST) && sha256sum * > SHA256SUMS && cat SHA256SUMS

reproducible: binaries ## Build the release once more, elsewhere and with another cargo home, and compare
	rm -rf $(AGAIN) && mkdir -p $(AGAIN)/source $(AGAIN)/cargo
	git archive HEAD | tar -x -C $(AGAIN)/source
	ln -s $(CARGO_HOME)/registry $(AGAIN)/cargo/registry
	CARGO_HOME=$(CURDIR)/$(AGAIN)/cargo $(MAKE) -C $(AGAIN)/source binaries
	for binary in $(BINARIES); do cmp $(RELEASE)/$$binary $(AGAIN)/source/$(RELEASE)/$$binary || exit 1; done
	rm -rf $(AGAIN)
	cd $(RELEASE) && sha256sum $(BINARIES)

# Not in the list: what the others are made of.
.PHONY: build
build:
	cargo build --workspace --all-targets

# The paths of this machine do not get into what is published: elsewhere the same comes out.
.PHONY: binaries
CARGO_HOME ?= $(HOME)/.cargo
binaries: export CARGO_TARGET_$(HOST_UPPER)_RUSTFLAGS := -C target-feature=+crt-static \
	--remap-path-prefix=$(CURDIR)=/src --remap-path-prefix=$(CARGO_HOME)=/cargo
binaries:
	cargo build --release --locked --bins
	mkdir -p $(RELEASE) && cp $(addprefix target/$(HOST)/release/,$(BINARIES)) $(RELEASE)/
