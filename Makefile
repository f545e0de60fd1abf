# The user's entry points. `make demo` and `make test` work on a Debian or Ubuntu machine with a Rust toolchain.
#
#   make setup         installs what the build needs, or prints it
#   make build         target/release/mmprm
#   make install       puts mmprm, its man pages and completions below PREFIX (/usr/local), under DESTDIR if set
#   make uninstall     removes them
#   make man           writes the man pages to target/man1
#   make demo          builds, then runs the whole pipeline on the shipped mini models
#   make test          all tests, with debug assertions and overflow checks (profile `checked`)
#   make test-fast     what needs no llama.cpp and no C++ compiler
#   make examples      runs examples/ on the demo's models
#   make lint          rustfmt, clippy, rustdoc
#   make bench         criterion benches
#   make test-vulkan   the engine on a software Vulkan device; builds llama.cpp again, in target/vulkan
#   make fuzz          fuzzes what reads files, a minute for each kind (FUZZ_SECONDS=60); needs cargo-fuzz
#   make audit         licences, sources and known vulnerabilities of the dependencies; needs cargo-deny
#   make docs          regenerates docs/cli.md from the command line's own definitions
#   make recipe        remakes the models in demo/models from random weights (hours on two cores; needs Python with Pillow and the DejaVu fonts)
#
# PORTABLE=1 builds for any x86-64 processor with AVX2 instead of this one, in its own target directory.
# FEATURES=cuda (or vulkan, metal) builds llama.cpp's backend for that device.

CARGO ?= cargo
FEATURES ?=
PROFILE := --release
CHECKED := --profile checked
export CARGO_TERM_COLOR ?= auto

ifdef PORTABLE
export RUSTFLAGS := -C target-feature=+avx,+avx2,+fma,+f16c,+bmi2,+sse4.2
export CARGO_TARGET_DIR := target/portable
endif

TARGET := $(or $(CARGO_TARGET_DIR),target)
MMPRM := $(TARGET)/release/mmprm
ifneq ($(FEATURES),)
WITH := --features $(FEATURES)
endif

.PHONY: setup build man install install-files uninstall demo test test-fast examples test-vulkan lint fmt bench docs recipe fuzz audit clean

setup:
	@sh build/setup.sh

build: setup
	$(CARGO) build $(PROFILE) --package mmprm-tools $(WITH)

man: build
	$(MMPRM) man -o $(TARGET)/man1

# Files are made by the program itself, in a directory of their own, before any of them is installed.
PREFIX ?= /usr/local
DESTDIR ?=
INSTALL ?= install
SHARE = $(DESTDIR)$(PREFIX)/share

install: build
	@$(MAKE) --no-print-directory install-files MMPRM=$(MMPRM)

install-files:
	@set -e; made=$$(mktemp -d); trap 'rm -rf "$$made"' EXIT; \
	"$(MMPRM)" --quiet man -o "$$made/man1"; \
	for shell in bash zsh fish; do "$(MMPRM)" completions $$shell > "$$made/$$shell"; done; \
	$(INSTALL) -d "$(DESTDIR)$(PREFIX)/bin" "$(SHARE)/man/man1" "$(SHARE)/bash-completion/completions" \
		"$(SHARE)/zsh/site-functions" "$(SHARE)/fish/vendor_completions.d"; \
	$(INSTALL) -m 755 "$(MMPRM)" "$(DESTDIR)$(PREFIX)/bin/mmprm"; \
	$(INSTALL) -m 644 "$$made"/man1/*.1 "$(SHARE)/man/man1"; \
	$(INSTALL) -m 644 "$$made/bash" "$(SHARE)/bash-completion/completions/mmprm"; \
	$(INSTALL) -m 644 "$$made/zsh" "$(SHARE)/zsh/site-functions/_mmprm"; \
	$(INSTALL) -m 644 "$$made/fish" "$(SHARE)/fish/vendor_completions.d/mmprm.fish"; \
	echo "installed: $(DESTDIR)$(PREFIX)/bin/mmprm, man pages, completions of bash, zsh and fish"

uninstall:
	rm -f "$(DESTDIR)$(PREFIX)/bin/mmprm" "$(SHARE)/man/man1/mmprm.1" "$(SHARE)"/man/man1/mmprm-*.1 \
		"$(SHARE)/bash-completion/completions/mmprm" "$(SHARE)/zsh/site-functions/_mmprm" \
		"$(SHARE)/fish/vendor_completions.d/mmprm.fish"

demo: build
	@MMPRM=$(MMPRM) sh demo/run.sh

# Tests that need data outside the repository are skipped without it, and counted. Committed data that is missing is a failure.
SKIPS := $(abspath $(TARGET))/skipped-tests
export MMPRM_SKIPS = $(SKIPS)
begin_skips = mkdir -p $(dir $(SKIPS)) && : > $(SKIPS)
show_skips = printf '%s tests skipped: they need data or devices outside the repository (list: %s)\n' "$$(grep -c . $(SKIPS))" $(SKIPS)

test: setup
	@$(begin_skips)
	$(CARGO) test $(CHECKED) --workspace $(WITH)
	@$(show_skips)

test-fast:
	@$(begin_skips)
	$(CARGO) test --package mmprm-quant --package mmprm --no-default-features
	@$(show_skips)

EXAMPLES := score best_of_n annotate train_prm verify convert
# Built with the whole workspace, as `make test` builds them: alone they would have other features, and llama.cpp be built again.
examples: setup
	$(CARGO) build $(CHECKED) --workspace --examples $(WITH)
	@for example in $(EXAMPLES); do \
		printf '$$ cargo run --example %s\n' $$example; \
		$(TARGET)/checked/examples/$$example || exit 1; \
	done

# llama.cpp uses a software device only if it is named. Golden scores are compared with 32-bit products; 16-bit ones have rounding of
# their own.
VULKAN := CARGO_TARGET_DIR=target/vulkan GGML_VK_VISIBLE_DEVICES=0 MMPRM_EXPECT_DEVICE=1 \
	VK_DRIVER_FILES="$$(ls /usr/share/vulkan/icd.d/lvp_icd.*.json)" VK_ICD_FILENAMES="$$(ls /usr/share/vulkan/icd.d/lvp_icd.*.json)"

test-vulkan: setup
	@sh build/setup-vulkan.sh
	$(VULKAN) $(CARGO) test $(PROFILE) --workspace --features vulkan --test device
	$(VULKAN) GGML_VK_DISABLE_F16=1 $(CARGO) test $(PROFILE) --workspace --features vulkan --test golden_score

lint: setup
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(CHECKED) --workspace --all-targets $(WITH) -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc $(CHECKED) --workspace --no-deps $(WITH)

fmt:
	$(CARGO) fmt --all

bench: setup
	$(CARGO) bench --workspace $(WITH)

docs: setup
	MMPRM_UPDATE=1 $(CARGO) test $(CHECKED) --package mmprm-tools --test docs

recipe: build
	@MMPRM=$(MMPRM) sh demo/train-models.sh

FUZZ_SECONDS ?= 60
fuzz:
	@sh build/fuzz.sh $(FUZZ_SECONDS)

audit:
	@sh build/audit.sh

clean:
	$(CARGO) clean
