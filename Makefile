# Thin names over scripts/. `make demo` and `make test` do all their own set-up.

.PHONY: demo dev test check wasm setup

demo: setup wasm
	@scripts/run scripts/demo.mjs

dev: setup wasm
	@scripts/run scripts/dev.mjs

test: setup wasm
	@scripts/test

check: setup
	@scripts/check

wasm:
	@scripts/wasm

setup:
	@scripts/setup
