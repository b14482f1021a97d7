# The ways into the project. `tools/needs` installs what a target lacks and is silent otherwise.

SHELL := /bin/bash
PREFIX ?= /usr/local
DESTDIR ?=

# One target folder for everything, and the place where `cargo install` puts programs.
export CARGO_TARGET_DIR ?= $(CURDIR)/target
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin
# The tests that speak Python find the pinned packages here.
export MFAD_TEST_PYTHON := $(abspath .venv/bin/python)

DEBUG := $(CARGO_TARGET_DIR)/debug
RELEASE := $(CARGO_TARGET_DIR)/release
PROOF := $(CARGO_TARGET_DIR)/proof

.PHONY: demo run build test proof vm bench deb manual install fmt clean

# Walks through an enrolment, a login and a recovery against a daemon of its own, and shows each exchange.
demo:
	@tools/needs demo
	cargo build --locked --bins --example virtual-key
	tools/demo $(DEBUG)

# A daemon for trying things out, without root: open registration, and you are its administrator.
run: build run/mfad.toml
	test -e run/state/mfad.db || $(DEBUG)/mfad init --config run/mfad.toml --state-dir run/state
	exec $(DEBUG)/mfad --config run/mfad.toml --state-dir run/state --socket run/mfad.sock

run/mfad.toml:
	install -d -m 0700 run
	printf '%s\n' 'registration = "open"' '' '[[peer]]' "uid = $$(id -u)" 'rights = ["admin"]' > $@

build:
	@tools/needs build
	cargo build --locked

# All that CI runs.
test:
	@tools/needs test
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	cargo clippy --lib --bins --no-default-features --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --locked
	cargo deny check bans licenses sources
	cargo nextest run --locked
	cargo test --doc --locked
	tools/fuzz short
	tools/check-units
	$(MAKE) demo

# The long tests behind the figures in the documents: those marked `#[ignore]`, and at their full length those of
# tests/proof and a few beside them, whose figures become docs/proof.md.
proof:
	@tools/needs proof
	cargo build --release --locked
	cargo nextest run --locked --run-ignored only
	rm -rf $(PROOF)
	MFAD_PROOF=$(PROOF) MFAD_TEST_DAEMON=$(RELEASE)/mfad cargo nextest run --locked --profile proof \
		-E 'test(proof::) | test(races::) | test(memory::) | test(leaks::)'
	tools/proof-table $(PROOF) > docs/proof.md
	tools/fuzz long
	$(MAKE) vm

# The package on whole Debians 12 and 13, under qemu.
vm: deb
	@tools/needs vm
	cargo build --locked --example virtual-security-key
	tests/vm/run bookworm $(CARGO_TARGET_DIR)/debian/mfad_*.deb
	tests/vm/run trixie $(CARGO_TARGET_DIR)/debian/mfad_*.deb

# Ratios of one run; those of the load become docs/bench.
bench:
	@tools/needs test
	@tools/needs bench
	MFAD_BENCH_DOCS=1 cargo bench --locked

# The package, for the Debian that it is built on and later ones; it lands in target/debian.
deb:
	@tools/needs deb
	rm -rf $(CARGO_TARGET_DIR)/debian
	cargo build --release --locked --bins
	$(MAKE) manual
	cargo deb --locked --no-build

# The man pages and the completions of the release build.
manual:
	rm -rf $(CARGO_TARGET_DIR)/manual
	$(RELEASE)/mfad manual $(CARGO_TARGET_DIR)/manual
	$(RELEASE)/mfactl manual $(CARGO_TARGET_DIR)/manual

install:
	@tools/needs build
	cargo build --release --locked
	install -D -m 0755 $(RELEASE)/mfad $(DESTDIR)$(PREFIX)/sbin/mfad
	install -D -m 0755 $(RELEASE)/mfactl $(DESTDIR)$(PREFIX)/bin/mfactl
	$(MAKE) manual
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man1 $(CARGO_TARGET_DIR)/manual/*.1
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man5 $(CARGO_TARGET_DIR)/manual/*.5
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man8 $(CARGO_TARGET_DIR)/manual/*.8
	install -D -m 0644 $(CARGO_TARGET_DIR)/manual/mfactl.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/mfactl
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(CARGO_TARGET_DIR)/manual/_mfactl
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d $(CARGO_TARGET_DIR)/manual/mfactl.fish

fmt:
	cargo fmt

# `run/` stays: it holds a master key and the users made with it.
clean:
	cargo clean
	rm -rf .venv
