# The front door. `make` builds, `make help` lists the rest. Everything works from a fresh
# Debian 12 with git, make and root (or sudo): what is missing is installed first.
#
# The work itself is CMake's (CMakeLists.txt, CMakePresets.json), one folder a configuration:
# build/release, build/dev (gcc, tests), build/asan (clang), build/tsan.

BUILD ?= build
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 600
TORTURE_SECONDS ?= 600
# make test TESTS=unit: only the tests whose name matches
TESTS ?= .

export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)
MAKEFLAGS += --no-print-directory

# $(call build,PRESET[,OPTION...]): configure and build one configuration, quietly.
build = cmake --preset $(1) -B $(BUILD)/$(1) --log-level=WARNING $(2) >/dev/null && \
    cmake --build $(BUILD)/$(1)

all: setup-build ## build the library, malloc and the tool (build/release)
	@$(call build,release)

run: all ## run a compiler on Quarry, show its memory and what it cost
	@BUILD_DIR=$(abspath $(BUILD)/release) scripts/demo

test: setup-build setup-test ## every test, under gcc, clang, the sanitizers and valgrind
	@$(foreach preset,dev asan tsan,$(call build,$(preset)) &&) \
	printf 'subdirs(dev asan tsan)\n' >$(BUILD)/CTestTestfile.cmake
	@ctest --test-dir $(BUILD) -j $(JOBS) -R '$(TESTS)' --no-tests=error --output-on-failure --no-label-summary

check: setup-build setup-test setup-check ## layers, symbols, headers, format, static analysis, rules, fast paths
	@$(call build,dev)
	@BUILD_DIR=$(abspath $(BUILD)/dev) scripts/check

format: setup-check ## lay every C and C++ file out as .clang-format says
	@git ls-files -co --exclude-standard '*.c' '*.h' '*.cpp' | xargs -r clang-format -i

bench: all setup-bench ## side by side with glibc, jemalloc, mimalloc and tcmalloc
	@BUILD_DIR=$(abspath $(BUILD)/release) bench/run

fuzz: setup-build setup-test ## each fuzzer for FUZZ_SECONDS (600)
	@$(call build,asan,-DQUARRY_FUZZ_SECONDS=$(FUZZ_SECONDS))
	@ctest --test-dir $(BUILD)/asan -L fuzz -j $(JOBS) --output-on-failure

torture: setup-build setup-test ## everything at once, TORTURE_SECONDS (600): as it is, with calls that fail, under tsan
	@$(foreach preset,dev tsan,$(call build,$(preset)) &&) \
	printf 'subdirs(dev tsan)\n' >$(BUILD)/CTestTestfile.cmake
	@QUARRY_SECONDS=$(TORTURE_SECONDS) ctest --test-dir $(BUILD) -L torture -j $(JOBS) --output-on-failure

install: setup-build ## install below PREFIX (/usr/local), DESTDIR before it
	@$(call build,release,-DCMAKE_INSTALL_PREFIX='$(PREFIX)')
	@cmake --install $(BUILD)/release

uninstall: ## delete what the last `make install` laid down
	@scripts/uninstall $(BUILD)/release/install_manifest.txt

clean: ## delete what was built
	rm -rf $(BUILD)

setup-%:
	@scripts/setup $*

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

.NOTPARALLEL:
.PHONY: all run test check format bench fuzz torture install uninstall clean help
