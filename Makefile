# FlexLVM's commands. Everything that they need they install themselves, on Debian 12.

.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-api test-node test-cluster fuzz bench-driver bench-provision bench-pod lint generate image clean

help: ## What there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

demo: ## A cluster of two nodes, a claim, a pod, growth, removal (KEEP=1 leaves it up; KUBERNETES=1.20)
	@tests/cluster/prepare build
	@cargo build --locked -p tests --bin demo
	@target/debug/demo

test: ## Everything; ends with `N passed, N failed`
	@tests/run unit api node cluster

test-unit: ## What is pure, the driver's binary, the generated files
	@tests/run unit

test-api: ## Controller and agent, against a real API server
	@tests/run api

test-node: ## Driver and LVM, in a guest with real LVM
	@tests/run node

test-cluster: ## A whole cluster: data, crashes, power cuts
	@tests/run cluster

fuzz: ## A million inputs for the driver: one answer each, no panic, no word unchecked (FUZZ_INPUTS, FUZZ_SEED)
	@FUZZ_INPUTS=$${FUZZ_INPUTS:-1000000} cargo test --quiet --locked --release -p driver --test fuzz -- --nocapture every_input

bench-driver: ## The driver beside bare programs and the example's script, as ratios (ROUNDS=25)
	@tests/bench-driver $(ROUNDS)

bench-provision: ## Many claims beside a bare client, real volumes beside a loop of lvcreate, as ratios (ROUNDS=3, PART=claims or volumes)
	@tests/bench-provision $(or $(ROUNDS),3) $(PART)

bench-pod: ## What a claim adds to a pod's start and removal, beside an emptyDir (ROUNDS=8)
	@tests/bench-pod $(ROUNDS)

lint: ## Formatting, clippy, dependencies, scripts; nothing is changed
	@tests/lint

generate: ## The YAML of the definitions, from the types
	UPDATE=1 cargo test --quiet --locked -p crds --test yaml

image: ## target/image/flexlvm.tar, as flexlvm:dev (TAG=… names it otherwise)
	@tests/cluster/prepare build
	@image/build

clean: ## Removes what was built, but not Kubernetes
	cargo clean
