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
# The tests that have a long run, and those that are nothing else and so are ignored otherwise.
LONG := test(proof::) | test(proofs::) | test(races::) | test(memory::) | test(leaks::) \
	| test(/_at_50_points_|_batch_of_500_|_a_kill_at_any_apdu_/)

.PHONY: demo run build test proof fuzz mutants coverage vm bench deb manual install fmt clean

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
	umask 077; printf '%s\n' 'registration = "open"' '' '[[peer]]' "uid = $$(id -u)" 'rights = ["admin"]' > $@

build:
	@tools/needs build
	cargo build --locked

# All that CI runs.
test:
	@tools/needs test
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo fmt --check --manifest-path tools/mutants/Cargo.toml
	cargo clippy --all-targets --locked -- -D warnings
	cargo clippy --lib --test schedules --features schedules --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --locked
	cargo deny check bans licenses sources
	cargo nextest run --locked --features schedules --test schedules
	cargo nextest run --locked
	cargo test --doc --locked
	tools/fuzz short
	tools/check-units
	$(MAKE) demo

# The long runs behind the figures in the documents, which become docs/proof.md: the tests marked `#[ignore]`, and at their
# full length those of tests/proof and a few beside them. Some forty minutes on two cores, half of them
# password hashes, after fifteen for what a bare clone installs and builds.
proof: export MFAD_PROOF := $(PROOF)
# What a harness needs and is not there is a failure, not a reason to leave it out.
proof: export CI := 1
proof: export MFAD_TEST_DAEMON := $(RELEASE)/mfad
# A client that is slow is a race that is none, and takes the time of the daemon.
proof: export CARGO_PROFILE_DEV_OPT_LEVEL := 1
proof:
	rm -rf $(PROOF) && mkdir -p $(PROOF)
	date +%s > $(PROOF)/begun
	@tools/needs proof
	git describe --always --dirty --exclude '*' > $(PROOF)/commit || true
	cargo build --release --locked --bins
	set -o pipefail; cargo nextest run --test it --locked --profile proof --run-ignored all -E '$(LONG)' 2>&1 \
		| tee $(PROOF)/log || touch $(PROOF)/failed
	tools/proof-table $(PROOF) > docs/proof.md
	@cat docs/proof.md
	test ! -e $(PROOF)/failed

# The fuzz targets with coverage to guide them and sanitizers, a minute each.
fuzz:
	@tools/needs fuzz
	tools/fuzz long

# Changes the model, the arithmetic of codes and the use cases, one place at a time; each change has to be noticed by a
# test. Takes some hours. A part of it: `tools/mutants/run src/model/throttle.rs`.
mutants:
	@tools/needs test
	@tools/needs mutants
	tools/mutants/run

# Which lines the tests run, in each part of the program.
coverage:
	@tools/needs test
	@tools/needs coverage
	tools/coverage

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
	cargo fmt --manifest-path fuzz/Cargo.toml
	cargo fmt --manifest-path tools/mutants/Cargo.toml

# `run/` stays: it holds a master key and the users made with it.
clean:
	cargo clean
	rm -rf .venv
