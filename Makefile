# Thin names over scripts/. `make demo` and `make test` do all their own set-up.

.PHONY: bench demo dev test test-packaging sim check wasm package setup

demo: setup wasm package
	@scripts/run scripts/demo.mjs

dev: setup wasm package
	@scripts/run scripts/dev.mjs

test: setup wasm
	@scripts/test

test-packaging: setup
	@scripts/test-packaging

sim:
	@scripts/sim

bench: setup
	@scripts/bench

check: setup
	@scripts/check

wasm:
	@scripts/wasm

package:
	@scripts/package

setup:
	@scripts/setup
