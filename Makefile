# SPDX-License-Identifier: MIT OR 0BSD
# Degu: every command a person runs.  `make` builds, `make help` lists.
#
# CC, CFLAGS, CPPFLAGS, LDFLAGS and PYTHON are yours; prefix and DESTDIR too.

CFLAGS ?= -O2
ifeq ($(origin CFLAGS),file) # nobody's choice
extension: CFLAGS = -O3
endif
prefix ?= /usr/local
includedir ?= $(prefix)/include
pkgconfigdir ?= $(prefix)/share/pkgconfig
# Debian's python3-* packages belong to /usr/bin/python3, so that goes first.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)

# The Debian packages each command needs; `make demo`, `make test` and the
# others install what is missing when they run as root, and else say what to
# type.  Anywhere but on Debian they leave that to you.
DEMO_PACKAGES = gcc libc6-dev libssl-dev openssl curl python3 python3-dev
TEST_PACKAGES = $(DEMO_PACKAGES) g++ clang libclang-rt-dev gcc-multilib \
    g++-multilib musl-tools pkg-config python3-pytest python3-hypothesis \
    python3-setuptools python3-wheel python3-flask wget nginx-light
COST_PACKAGES = $(DEMO_PACKAGES) valgrind
# The limit's tools and the peers; what Debian has not, the bench gets itself.
BENCH_PACKAGES = $(DEMO_PACKAGES) strace wrk nginx-light libmicrohttpd-dev \
    node-llhttp/libllhttp-dev gunicorn python3-aiohttp python3-httptools \
    python3-pycurl python3-requests python3-urllib3 python3-uvicorn \
    python3-uvloop python3-venv
VALGRIND_PACKAGES = $(TEST_PACKAGES) valgrind
# `make leaks PYTHON=/usr/bin/python3-dbg` counts references as well.
LEAKS_PACKAGES = $(TEST_PACKAGES) python3-dbg
FUZZ_PACKAGES = $(DEMO_PACKAGES) clang libclang-rt-dev
PROVE_PACKAGES = gcc libc6-dev python3
AFL_PACKAGES = $(FUZZ_PACKAGES) afl++
COVERAGE_PACKAGES = $(FUZZ_PACKAGES) llvm
# To build CPython without a GIL, where none is on the path.
FREE_THREADED_PACKAGES = gcc libc6-dev make dpkg-dev libssl-dev libffi-dev \
    zlib1g-dev
LINT_PACKAGES = $(DEMO_PACKAGES) clang-tidy cppcheck mypy
FORMAT_PACKAGES = clang-format
# tests/packages.sh knows what -N- and a slash stand for.
SIZE_PACKAGES = gcc libc6-dev python3 gcc-arm-none-eabi gcc-riscv64-unknown-elf
FIRMWARE_PACKAGES = $(DEMO_PACKAGES) $(SIZE_PACKAGES) picolibc-arm-none-eabi \
    picolibc-riscv64-unknown-elf qemu-system-arm \
    qemu-system-riscv/qemu-system-misc liblwip-dev
CROSS_PACKAGES = gcc libc6-dev python3 gcc-multilib musl-tools clang qemu-user \
    gcc-mingw-w64-x86-64-win32 \
    $(foreach arch,armhf arm64 riscv64 s390x,libc6-dev-$(arch)-cross \
    libgcc-N-dev-$(arch)-cross) binutils-arm-linux-gnueabihf \
    binutils-aarch64-linux-gnu binutils-riscv64-linux-gnu \
    binutils-s390x-linux-gnu

EXAMPLES = $(patsubst doc/examples/%.c,build/%,$(wildcard doc/examples/*.c))
DEMO = build/demo_server build/demo_client
SOURCES = degu.h degu_tls.h $(wildcard py/src/*.[ch] doc/examples/*.c tests/demo/*.c \
    tests/bench/*.[ch] tests/c/*.[ch] tests/firmware/*.[ch] fuzz/*.[ch])
VERSION = $(shell sed -n 's/^\#define DEGU_VERSION_STRING "\(.*\)"/\1/p' degu.h)

.PHONY: all help extension demo test free-threaded tls faults prove fuzz \
    fuzz-afl coverage stack valgrind leaks bench cost size firmware cross \
    install uninstall clean format lint demo-packages test-packages \
    prove-packages fuzz-packages afl-packages coverage-packages \
    valgrind-packages leaks-packages bench-packages cost-packages \
    lint-packages format-packages size-packages firmware-packages cross-packages

all: extension $(EXAMPLES) ## build the extension in py/degu, the examples in build

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1:/p' Makefile | \
	    while IFS=: read -r name what; do \
	        printf 'make %-10s %s\n' "$$name" "$$what"; done

extension:
	@CC='$(CC)' CFLAGS='$(CPPFLAGS) $(CFLAGS)' LDFLAGS='$(LDFLAGS)' \
	    $(PYTHON) tests/build_extension.py py/degu

demo: demo-packages extension $(DEMO) ## servers and clients of both languages and curl, shown
	$(PYTHON) tests/demo/demo.py build

test: test-packages ## everything that can be wrong, in about twenty minutes
	@sh tests/packages.sh $(PROVE_PACKAGES) $(FIRMWARE_PACKAGES) \
	    $(CROSS_PACKAGES)
	@sh tests/proofs/get_cbmc.sh || echo 'CBMC could not be had: no proofs'
	@CC='$(CC)' $(PYTHON) tests/run.py

free-threaded: test-packages ## Python tests without a GIL, on a CPython that is built if need be
	@sh tests/free_threaded.sh build/free-threaded $(FREE_THREADED_PACKAGES)
	@CC='$(CC)' $(PYTHON) tests/run.py free-threaded

tls: test-packages extension ## what goes wrong under TLS, played against both languages, as a table
	@CC='$(CC)' $(PYTHON) tests/tls/matrix.py

faults: demo-packages extension ## slow, hostile, broken, too many: against both servers and clients
	@CC='$(CC)' $(PYTHON) tests/faults/faults.py

prove: prove-packages ## what no input can do to layers 2 to 6, by model checking
	@$(PYTHON) tests/proofs/prove.py

fuzz: fuzz-packages ## all harnesses with libFuzzer, FUZZ_SECONDS=60 in all; see fuzz/README.md
	@$(PYTHON) fuzz/run.py

fuzz-afl: afl-packages ## the same with AFL++
	@$(PYTHON) fuzz/run.py --afl

coverage: coverage-packages ## lines and branches that the C tests and the fuzz inputs run
	@$(PYTHON) tests/coverage.py

valgrind: valgrind-packages extension ## C and Python tests under memcheck; takes hours
	@CC='$(CC)' $(PYTHON) tests/valgrind.py

leaks: leaks-packages extension ## Python tests a hundred times and more: what grows; about an hour
	@PYTHONPATH=py $(PYTHON) tests/leaks.py

bench: bench-packages extension ## against limits and peers, ten minutes; a table and doc/performance
	@CC='$(CC)' $(PYTHON) tests/bench/bench.py

cost: cost-packages extension ## instructions that a Python server and client spend on a request
	$(PYTHON) tests/bench/instructions.py

size: size-packages | build ## of the source, of structs; flash, RAM, stack, with a budget
	@CC='$(CC)' $(PYTHON) tests/bench/size.py build
	@$(PYTHON) tests/firmware/size.py build/size

firmware: firmware-packages extension ## emulated microcontrollers: vectors, and HTTP over a UART
	@CC='$(CC)' $(PYTHON) tests/firmware/firmware.py build/firmware

cross: cross-packages ## the C tests on other processors and C libraries, as a table
	@$(PYTHON) tests/c/cross.py build/cross

stack: demo-packages ## that layers 1 to 6 need, by function, and the deepest call
	@$(PYTHON) tests/stack.py build/stack

build/%: doc/examples/%.c degu.h degu_tls.h | build
	$(CC) $(CPPFLAGS) $(CFLAGS) -I. $< $(LDFLAGS) -o $@ -pthread $(LIBS)

build/demo_%: tests/demo/%.c degu.h degu_tls.h | build
	$(CC) $(CPPFLAGS) $(CFLAGS) -I. $< $(LDFLAGS) -o $@ -pthread $(LIBS)

build/hello_tls_server build/hello_tls_client $(DEMO): LIBS = -lssl -lcrypto

build:
	mkdir -p build

install: degu.h degu_tls.h degu.pc.in ## headers and degu.pc; prefix and DESTDIR are honoured
	install -d $(DESTDIR)$(includedir) $(DESTDIR)$(pkgconfigdir)
	install -m 644 degu.h degu_tls.h $(DESTDIR)$(includedir)
	sed -e 's|@prefix@|$(prefix)|' -e 's|@includedir@|$(includedir)|' \
	    -e 's|@version@|$(VERSION)|' degu.pc.in \
	    > $(DESTDIR)$(pkgconfigdir)/degu.pc
	chmod 644 $(DESTDIR)$(pkgconfigdir)/degu.pc

uninstall: ## the reverse of install
	rm -f $(DESTDIR)$(includedir)/degu.h $(DESTDIR)$(includedir)/degu_tls.h \
	    $(DESTDIR)$(pkgconfigdir)/degu.pc

clean: ## remove what was built
	rm -rf build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache py/*.egg-info
	rm -f py/degu/*.so
	find py tests doc fuzz -name __pycache__ -type d -exec rm -rf {} +

format: format-packages ## clang-format over the C files, on request only
	clang-format -i $(SOURCES)

lint: lint-packages extension ## clang-tidy, cppcheck, gcc -fanalyzer, mypy, rules of the house
	@$(PYTHON) tests/lint.py

# What a command needs and Debian has: installed by root, named for others.
demo-packages: PACKAGES = $(DEMO_PACKAGES)
test-packages: PACKAGES = $(TEST_PACKAGES)
bench-packages: PACKAGES = $(BENCH_PACKAGES)
cost-packages: PACKAGES = $(COST_PACKAGES)
fuzz-packages: PACKAGES = $(FUZZ_PACKAGES)
leaks-packages: PACKAGES = $(LEAKS_PACKAGES)
valgrind-packages: PACKAGES = $(VALGRIND_PACKAGES)
afl-packages: PACKAGES = $(AFL_PACKAGES)
coverage-packages: PACKAGES = $(COVERAGE_PACKAGES)
lint-packages: PACKAGES = $(LINT_PACKAGES)
format-packages: PACKAGES = $(FORMAT_PACKAGES)
size-packages: PACKAGES = $(SIZE_PACKAGES)
firmware-packages: PACKAGES = $(FIRMWARE_PACKAGES)
cross-packages: PACKAGES = $(CROSS_PACKAGES)
size-packages firmware-packages cross-packages \
demo-packages test-packages bench-packages cost-packages lint-packages \
format-packages \
fuzz-packages afl-packages coverage-packages valgrind-packages leaks-packages:
	@sh tests/packages.sh $(PACKAGES)

# The model checker is a package of Debian 13, and can be had on 12.
prove-packages:
	@sh tests/packages.sh $(PROVE_PACKAGES)
	@sh tests/proofs/get_cbmc.sh
