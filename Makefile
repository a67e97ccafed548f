# FlexLVM's commands. On Debian 12 they install everything that they need.

.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-api test-node test-cluster test-storage-e2e fuzz bench-driver bench-provision bench-pod soak lint generate book image release clean

help: ## Lists the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

demo: ## Shows a cluster of two nodes, a claim, a pod, growth, removal (KEEP=1 leaves it up; KUBERNETES=1.20)
	@tests/cluster/prepare build
	@demo=$$(tests/build-demo) && exec "$$demo"

test: ## Runs all tests; ends with `N passed, N failed`
	@tests/run unit api node cluster

test-unit: ## Tests pure code, the driver's binary, the generated files
	@tests/run unit

test-api: ## Tests controller and agent against a real API server
	@tests/run api

test-node: ## Tests driver and agent in a guest with real LVM
	@tests/run node

test-cluster: ## Tests a cluster: data, crashes, power cuts
	@tests/run cluster

test-storage-e2e: ## Runs the external-storage suite of Kubernetes 1.37 (FOCUS=…: a regular expression that selects specs)
	@tests/storage-e2e "$$FOCUS"

fuzz: ## Runs the driver on a million inputs: one answer each, no panic, no unchecked argument (FUZZ_INPUTS, FUZZ_SEED)
	@FUZZ_INPUTS=$${FUZZ_INPUTS:-1000000} cargo test --quiet --locked --release -p driver --test fuzz -- --nocapture every_input

bench-driver: ## Compares the driver with bare programs and the example's script, as ratios (ROUNDS=25)
	@tests/bench-driver $(ROUNDS)

bench-provision: ## Compares many claims with a bare client, real volumes with a loop of lvcreate, as ratios (ROUNDS=3, PART=claims or volumes)
	@tests/bench-provision $(or $(ROUNDS),3) $(PART)

bench-pod: ## Compares start and removal of a pod with a claim and with an emptyDir (ROUNDS=8)
	@tests/bench-pod $(ROUNDS)

soak: ## Runs random claims and faults on three nodes, then compares everything (MINUTES=10, SEED=… replays)
	@tests/soak-run $(or $(MINUTES),10) $(SEED)

lint: ## Checks formatting, clippy, dependencies, scripts; changes nothing
	@tests/lint

generate: ## Generates the YAML of the definitions from the types, the tables of docs/metrics.md, docs/reference, the PrometheusRule, the chart's templates
	UPDATE=1 cargo test --quiet --locked -p crds --test yaml --test reference
	UPDATE=1 cargo test --quiet --locked -p operator --lib -- documentation_lists --test-threads=1
	UPDATE=1 cargo test --quiet --locked -p tests --test book -- flags_are_documented
	UPDATE=1 cargo test --quiet --locked -p tests --test config -- prometheus_rule
	UPDATE=1 cargo test --quiet --locked -p tests --test config -- chart_templates

book: ## Builds docs as a book into target/book
	@tests/cluster/prepare book
	@tests/build-book

image: ## Builds target/image/flexlvm.tar, tagged flexlvm:dev (or TAG=…)
	@tests/cluster/prepare build
	@image/build

release: ## Builds dist/: image, chart, manifests, SBOM, release notes, checksums (IMAGE=…: the image's name in chart and manifests)
	@release/build

clean: ## Removes build results, except Kubernetes
	cargo clean
