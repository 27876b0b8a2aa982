# Thin names over scripts/. `make demo` and `make test` do all their own set-up.

.PHONY: demo dev test check wasm package setup

demo: setup wasm package
	@scripts/run scripts/demo.mjs

dev: setup wasm package
	@scripts/run scripts/dev.mjs

test: setup wasm
	@scripts/test

check: setup
	@scripts/check

wasm:
	@scripts/wasm

package:
	@scripts/package

setup:
	@scripts/setup
