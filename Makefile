# Entry points of the project. `tools/needs` installs what a target is missing; otherwise it prints nothing.

SHELL := /bin/bash
PREFIX ?= /usr/local
DESTDIR ?=

# One target directory for everything, and the directory where `cargo install` puts programs.
export CARGO_TARGET_DIR ?= $(CURDIR)/target
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin
# Tests that run Python use the pinned packages of this environment.
export MFAD_TEST_PYTHON := $(abspath .venv/bin/python)
# The benchmark runs the server that it compares with in an environment of its own.
export MFAD_BENCH_PEER := $(abspath .venv-peer/bin/python)

DEBUG := $(CARGO_TARGET_DIR)/debug
RELEASE := $(CARGO_TARGET_DIR)/release
MANUAL := $(RELEASE)/manual
PROOF := $(CARGO_TARGET_DIR)/proof
# Tests with a long form for `make proof`, and tests that exist only in a long form and are `#[ignore]`d otherwise.
LONG := test(proof::) | test(proofs::) | test(races::) | test(memory::) | test(leaks::) \
	| test(/_at_50_points_|_batch_of_500_|_batch_of_200_|_a_kill_at_any_apdu_|many_logins_in_one_/)

.PHONY: demo run build test proof fuzz mutants coverage vm bench deb manual install fmt clean

# Starts a daemon of its own, walks through an enrolment, a login and a recovery, and shows each request and response.
demo:
	@tools/needs demo
	cargo build --locked -p mfad -p mfactl -p mfad-testkit --bins --example virtual-key
	tools/demo $(DEBUG)

# A daemon for experiments, without root: registration is open, and you are its administrator.
run: build run/mfad.toml
	test -e run/state/mfad.db || $(DEBUG)/mfad init --config run/mfad.toml --state-dir run/state
	exec $(DEBUG)/mfad --config run/mfad.toml --state-dir run/state --socket run/mfad.sock

run/mfad.toml:
	install -d -m 0700 run
	umask 077; printf '%s\n' 'registration = "open"' '' '[[peer]]' "uid = $$(id -u)" 'rights = ["admin"]' > $@

build:
	@tools/needs build
	cargo build --locked

# Everything that CI runs.
test:
	@tools/needs test
	cargo fmt --all --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo fmt --check --manifest-path tools/mutants/Cargo.toml
	cargo fmt --check --manifest-path tools/nitrokey/Cargo.toml
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy -p mfad-tests --test schedules --features schedules --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
	cargo deny check bans licenses sources
	cargo nextest run --locked -p mfad-tests --features schedules --test schedules
	cargo build --workspace --locked --lib --bins --tests --examples
	cargo build --locked --manifest-path tools/nitrokey/Cargo.toml
	MFAD_TEST_PROGRAMS=$(DEBUG) cargo nextest run --workspace --locked
	cargo test --workspace --doc --locked
	tools/fuzz short
	tools/check-units
	$(MAKE) demo

# The long runs behind the figures in the documents; writes docs/proof.md. Runs the tests marked `#[ignore]`, and those
# of tests/it/proof and a few others at full length. Takes about forty minutes on two cores, half of them for password
# hashes, after fifteen minutes to install and build from a bare clone.
proof: export MFAD_PROOF := $(PROOF)
# A harness fails if something that it needs is missing; it is not skipped.
proof: export CI := 1
proof: export MFAD_TEST_DAEMON := $(RELEASE)/mfad
# Unoptimised test clients are too slow to race, and take CPU time from the daemon.
proof: export CARGO_PROFILE_DEV_OPT_LEVEL := 1
proof:
	rm -rf $(PROOF) && mkdir -p $(PROOF)
	date +%s > $(PROOF)/begun
	@tools/needs proof
	git describe --always --dirty --exclude '*' > $(PROOF)/commit || true
	cargo build --release --locked --bins
	set -o pipefail; cargo nextest run -p mfad-tests --test it --locked --profile proof --run-ignored all -E '$(LONG)' 2>&1 \
		| tee $(PROOF)/log || touch $(PROOF)/failed
	tools/proof-table $(PROOF) > docs/proof.md
	@cat docs/proof.md
	test ! -e $(PROOF)/failed

# The fuzz targets, coverage-guided and with sanitizers, one minute each.
fuzz:
	@tools/needs fuzz
	tools/fuzz long

# Mutation testing of the model, the code arithmetic and the use cases: changes one place at a time, and a test must
# catch each change. Takes some hours. To run a part: `tools/mutants/run crates/core/src/model/throttle.rs`.
mutants:
	@tools/needs test
	@tools/needs mutants
	tools/mutants/run

# Line coverage of the tests, for each part of the program.
coverage:
	@tools/needs test
	@tools/needs coverage
	tools/coverage

# Tests the package on full Debian 12 and 13 systems, under qemu.
vm: deb
	@tools/needs vm
	cargo build --locked -p mfad-testkit --example virtual-security-key
	tests/vm/run bookworm $(CARGO_TARGET_DIR)/debian/mfad_*.deb
	tests/vm/run trixie $(CARGO_TARGET_DIR)/debian/mfad_*.deb

# Benchmarks. The figures are ratios within one run; those of the load benchmark are written to docs/bench.
bench:
	@tools/needs test
	@tools/needs bench
	MFAD_BENCH_DOCS=1 cargo bench --locked -p mfad-tests

# The Debian packages, for the Debian release that they are built on and later ones. They are written to target/debian.
deb:
	@tools/needs deb
	rm -rf $(CARGO_TARGET_DIR)/debian
	cargo build --release --locked --lib --bins
	$(MAKE) manual
	cargo deb --locked --no-build -p mfad
	cargo deb --locked --no-build -p pam-mfad --multiarch same

# The man pages and completions of the release build.
manual:
	rm -rf $(MANUAL)
	$(RELEASE)/mfad manual $(MANUAL)
	$(RELEASE)/mfactl manual $(MANUAL)

install:
	@tools/needs build
	cargo build --release --locked
	install -D -m 0755 $(RELEASE)/mfad $(DESTDIR)$(PREFIX)/sbin/mfad
	install -D -m 0755 $(RELEASE)/mfactl $(DESTDIR)$(PREFIX)/bin/mfactl
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/libexec $(RELEASE)/mfad-pam-try
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/mfad packaging/ui.de.json
	$(MAKE) manual
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man1 $(MANUAL)/*.1
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man5 $(MANUAL)/*.5
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man8 $(MANUAL)/*.8
	install -D -m 0644 $(MANUAL)/mfactl.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/mfactl
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(MANUAL)/_mfactl
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d $(MANUAL)/mfactl.fish

fmt:
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml
	cargo fmt --manifest-path tools/mutants/Cargo.toml
	cargo fmt --manifest-path tools/nitrokey/Cargo.toml

# Keeps `run/`, which holds a master key and the users created with `make run`.
clean:
	cargo clean
	rm -rf .venv
