# The user's entry points. `make demo` and `make test` work on a bare Debian or Ubuntu machine with a Rust toolchain.
#
#   make setup     install what the build needs (or print it)
#   make demo      build, then run the whole pipeline on the shipped mini models
#   make test      all tests
#   make lint      formatting, clippy, documentation
#   make bench     criterion benches
#   make test-vulkan   the engine on a Vulkan device in software; builds llama.cpp anew, in target/vulkan
#   make models    remake the shipped demo/*.gguf from demo/checkpoints
#
# PORTABLE=1 builds for any x86-64 with AVX2 instead of this machine; it has its own target directory.
# FEATURES=cuda (or vulkan, metal) builds llama.cpp's backend for that device.

CARGO ?= cargo
FEATURES ?=
PROFILE := --release
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

.PHONY: setup build demo test test-vulkan lint fmt bench models deny clean

setup:
	@sh build/setup.sh

build: setup
	$(CARGO) build $(PROFILE) --package mmprm-tools $(WITH)

demo: build
	@MMPRM=$(MMPRM) sh demo/run.sh

test: setup
	$(CARGO) test $(PROFILE) --workspace $(WITH)

# A device in software is not taken unless it is named. Scores are compared with the reference's on products in 32 bits: what the
# device's products in 16 bits add is its own.
VULKAN := CARGO_TARGET_DIR=target/vulkan GGML_VK_VISIBLE_DEVICES=0 MMPRM_EXPECT_DEVICE=1 \
	VK_DRIVER_FILES="$$(ls /usr/share/vulkan/icd.d/lvp_icd.*.json)" VK_ICD_FILENAMES="$$(ls /usr/share/vulkan/icd.d/lvp_icd.*.json)"

test-vulkan: setup
	@sh build/setup-vulkan.sh
	$(VULKAN) $(CARGO) test $(PROFILE) --workspace --features vulkan --test device
	$(VULKAN) GGML_VK_DISABLE_F16=1 $(CARGO) test $(PROFILE) --workspace --features vulkan --test golden_score

lint: setup
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(PROFILE) --workspace --all-targets $(WITH) -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc $(PROFILE) --workspace --no-deps $(WITH)

fmt:
	$(CARGO) fmt --all

bench: setup
	$(CARGO) bench --workspace $(WITH)

models: build
	@MMPRM=$(MMPRM) sh demo/make-models.sh

deny:
	$(CARGO) deny check

clean:
	$(CARGO) clean
