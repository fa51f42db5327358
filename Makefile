# userd: run `make help` for the targets.
#
# Sources are found by wildcard: src/**/*.c, tools/*.c, tests/lib/*.c, tests/unit/test_*.c,
# tests/sim/*.c, tests/fuzz/fuzz_*.c, tests/conformance/*.c, bench/*.c and proto/**/*.proto. Everything
# made goes to build/.
#
# Variables:  SAN=1       AddressSanitizer and UBSan; SAN=thread: ThreadSanitizer
#             TLS=system  Debian's wolfSSL binary instead of our accelerated build
#             HEADERS=nghttp2  nghttp2's checks of heads and bodies instead of our own (h2_message.h)
#             CC=clang    the other compiler
#             T=name      these tests only (globs, several): make T="ring wal*" test-unit
#             F=name      the fuzz target, and TIME=60 its seconds: make F=grpc_frame fuzz
#             V=1         whole command lines
#             K=1         go on past sources that do not compile, and link what did
#             JOBS=n      parallel jobs (default: one per processor)
# Each combination of the first four builds in its own folder, build/<variant>.

VERSION := 0.1.0

ifeq ($(origin CC),default)
CC := gcc
endif
# SAN=fuzz is the variant of `make fuzz`: only clang has libFuzzer.
ifeq ($(SAN),fuzz)
override CC := clang
endif
TLS ?= accelerated
HEADERS ?= own
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
JOBS ?= $(shell nproc)
export TLS

.DEFAULT_GOAL := all
.SUFFIXES:
.DELETE_ON_ERROR:

# ---------------------------------------------------------------- what deps.sh found: wolfSSL's kind

ifeq ($(TLS),system)
-include build/deps/wolfssl-system.mk
else
-include build/deps/wolfssl.mk
endif
WOLFSSL_KIND ?= none
WOLFSSL_VERSION ?= unknown

# ------------------------------------------------------------------------------------------ variants

IS_CLANG := $(findstring clang,$(notdir $(CC)))
KIND := $(if $(SAN),$(or $(filter fuzz,$(SAN)),$(if $(filter thread,$(SAN)),tsan,asan)),release)
SUFFIX := $(if $(IS_CLANG),-clang)$(if $(filter system,$(TLS)),-system)$(if $(filter nghttp2,$(HEADERS)),-nghttp2)
VARIANT := $(KIND)$(if $(filter-out fuzz,$(KIND)),$(SUFFIX))
B := build/$(VARIANT)
GEN := build/gen
# Programs of the plain `make` stand in build/ itself.
OUT := $(if $(SAN)$(IS_CLANG)$(filter system,$(TLS))$(filter nghttp2,$(HEADERS)),$(B),build)

# ---------------------------------------------------------------------------------------------- flags

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes \
    -Wmissing-prototypes -Wold-style-definition -Wpointer-arith -Wcast-qual -Wwrite-strings -Wundef \
    -Wformat=2 -Wswitch-enum -Wvla -Walloca -Wnull-dereference -Wdouble-promotion \
    -Wframe-larger-than=8192 -Werror
ifeq ($(IS_CLANG),)
WARNINGS += -Wcast-align=strict -Wimplicit-fallthrough=5 -Wduplicated-cond -Wduplicated-branches \
    -Wlogical-op
else
WARNINGS += -Wcast-align -Wimplicit-fallthrough
endif

HARDEN := -fPIE -fstack-protector-strong -fstack-clash-protection
ifeq ($(SAN),)
MODE := -O2 -g -D_FORTIFY_SOURCE=2
else
SANITIZERS_asan := address,undefined
SANITIZERS_tsan := thread
SANITIZERS_fuzz := fuzzer-no-link,address,undefined
# The optimiser-driven null check sees branches that only the sanitizers added.
MODE := -O1 -g -fsanitize=$(SANITIZERS_$(KIND)) -fno-sanitize-recover=all -fno-omit-frame-pointer
WARNINGS += -Wno-null-dereference
endif

PKGS := liburing libnghttp2 libprotobuf-c libjwt jansson libsodium inih zlib libutf8proc libmicrohttpd
# Generated headers and those of libraries count as system headers: their warnings are not ours.
INCLUDES := -Iinclude -Isrc -isystem $(GEN) $(WOLFSSL_CFLAGS) $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
DEFINES := -D_GNU_SOURCE -DUSERD_VERSION='"$(VERSION)"' \
    $(if $(filter nghttp2,$(HEADERS)),-DUSERD_HEADERS_NGHTTP2) \
    -DUSERD_TLS_KIND='"$(WOLFSSL_KIND)"' -DUSERD_TLS_VERSION='"$(WOLFSSL_VERSION)"'
BASE_CFLAGS := -std=c11 $(DEFINES) $(MODE) $(HARDEN) -pthread $(INCLUDES) $(CFLAGS)
ALL_CFLAGS := $(WARNINGS) $(BASE_CFLAGS)
TEST_CFLAGS := $(ALL_CFLAGS) -Itests
ALL_LDFLAGS := $(MODE) -pie -pthread -Wl,-z,relro,-z,now -Wl,-z,noexecstack -Wl,--as-needed $(LDFLAGS)
# userbench computes powers; our own wolfSSL asks for -lm too, the system's does not.
LIBS := $(WOLFSSL_LIBS) $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm
CHECK_LIBS = $(shell pkg-config --libs check)

# -------------------------------------------------------------------------------------------- sources

PROTOS := $(shell find proto -name '*.proto' 2>/dev/null)
# What our proto files import from Debian's protobuf is generated too.
GOOGLE_PROTOS := $(addprefix google/protobuf/,any.proto empty.proto field_mask.proto)
GEN_C := $(PROTOS:proto/%.proto=$(GEN)/%.pb-c.c) $(GOOGLE_PROTOS:%.proto=$(GEN)/%.pb-c.c)
GEN_H := $(GEN_C:.c=.h)
# Debian's grpc-proto: gRPC's own services, and its interoperability tests (those for tests only).
GRPC_PROTOS := /usr/share/grpc-proto
INTEROP_GEN_C := $(GEN)/grpc/testing/messages.pb-c.c
INTEROP_GEN_H := $(INTEROP_GEN_C:.c=.h)

SRC := $(shell find src -name '*.c' 2>/dev/null)
LIB_SRC := $(filter-out src/main.c,$(SRC))
# tools/name.c is a program; tools/name_part.c belongs to it, tools/common_part.c to all of them. The
# same in bench, without the latter.
TOOL_SRC := $(wildcard tools/*.c)
TOOL_MAINS := $(foreach f,$(TOOL_SRC),$(if $(findstring _,$(notdir $f)),,$f))
BENCH_SRC := $(wildcard bench/*.c)
BENCH_MAINS := $(foreach f,$(BENCH_SRC),$(if $(findstring _,$(notdir $f)),,$f))
TESTLIB_SRC := $(wildcard tests/lib/*.c)
UNIT_SRC := $(foreach t,$(or $(T),*),$(wildcard tests/unit/test_$t.c))
SIM_SRC := $(foreach t,$(or $(T),*),$(wildcard tests/sim/$t.c))
FUZZ_SRC := $(foreach f,$(or $(F),*),$(wildcard tests/fuzz/fuzz_$f.c))
INTEROP_SRC := $(wildcard tests/conformance/*.c)
DRIVER_SRC := $(wildcard tests/client/client_*.c)
ALL_SRC := $(SRC) $(TOOL_SRC) $(BENCH_SRC) $(TESTLIB_SRC) \
    $(wildcard tests/unit/*.c tests/sim/*.c tests/fuzz/*.c) $(INTEROP_SRC) $(DRIVER_SRC) \
    $(wildcard tests/client/installed.c)
HEADERS := $(shell find include src tools tests bench -name '*.h' 2>/dev/null)
# What others than userd's own build compile: C and C++ of the same form.
FOREIGN_SRC := $(wildcard examples/*/*.c examples/*/*.cc tests/peers/*.cc tests/client/*.cc bench/peers/*.cc bench/peers/*.hh)

obj = $(patsubst %.c,$(B)/obj/%.o,$1)
# Files that are built into userd: each is an array of bytes of the name src/service/embedded.h tells.
EMBEDDED_C := $(addprefix $(GEN)/embedded/,status_page.c descriptors.c)
# What reflection tells: the services, and with them all that their files import.
DESCRIBED_PROTOS := users/v1/users.proto \
    $(addprefix grpc/,health/v1/health.proto reflection/v1/reflection.proto reflection/v1alpha/reflection.proto)
GEN_OBJ := $(GEN_C:build/%.c=$(B)/obj/%.o) $(EMBEDDED_C:build/%.c=$(B)/obj/%.o)
LIB_OBJ := $(call obj,$(LIB_SRC)) $(GEN_OBJ)
LIBUSERD := $(B)/libuserd.a
LIBTEST := $(if $(TESTLIB_SRC),$(B)/libtest.a)

USERD := $(if $(wildcard src/main.c),$(OUT)/userd)
TOOLS := $(patsubst tools/%.c,$(OUT)/%,$(TOOL_MAINS))
BENCHES := $(patsubst bench/%.c,$(OUT)/%,$(BENCH_MAINS))
UNIT_TESTS := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(UNIT_SRC))
SIM_TESTS := $(patsubst tests/sim/%.c,$(B)/tests/sim/%,$(SIM_SRC))
FUZZ_TARGETS := $(patsubst tests/fuzz/%.c,$(B)/tests/fuzz/%,$(FUZZ_SRC))
INTEROP_SERVER := $(if $(INTEROP_SRC),$(OUT)/interop-server)
# They use the public client library for tests from outside.
CLIENT_DRIVER := $(if $(DRIVER_SRC),$(OUT)/client-driver $(OUT)/client-rounds)
# Servers on libgrpc++, for these tests and for measurements; where Debian's packages for it are.
HAS_GRPC_CPP := $(and $(wildcard /usr/include/grpcpp/grpcpp.h),$(wildcard /usr/bin/grpc_cpp_plugin))
PEER_CPP := $(if $(HAS_GRPC_CPP),build/peer-cpp)
BENCH_PEERS := $(if $(HAS_GRPC_CPP),build/peers/grpc-cpp)
PY_GEN := $(PROTOS:proto/%.proto=$(GEN)/python/%_pb2.py)
GRPC_PY_GEN := $(addprefix $(GEN)/python/grpc/,testing/empty_pb2.py testing/messages_pb2.py \
    testing/test_pb2.py health/v1/health_pb2.py reflection/v1/reflection_pb2.py \
    reflection/v1alpha/reflection_pb2.py)

# The client library: the public face, and what it needs of all layers. A new need is named by the
# linker, and added here.
CLIENT_SONAME := libuserd-client.so.0
CLIENT_MAP := src/client/libuserd-client.map
CLIENT_PKGS := liburing libnghttp2 libprotobuf-c jansson libsodium
CLIENT_FACE := $(wildcard src/client/userd_client*.c)
CLIENT_SRC := $(wildcard src/client/*.c $(addprefix src/core/,arena.c buf.c clock.c conn*.c hash.c histogram.c \
    random.c reactor.c ring*.c secret.c slurp.c timer.c tls*.c workpool.c) \
    $(addprefix src/http2/,grpc_error.c grpc_frame.c grpc_metadata.c grpc_status.c h2_*.c proto_wire.c))
CLIENT_GEN := $(addprefix $(GEN)/,users/v1/users.pb-c.c google/rpc/status.pb-c.c \
    google/protobuf/any.pb-c.c google/protobuf/field_mask.pb-c.c)
pic = $(patsubst %.c,$(B)/pic/%.o,$(patsubst build/%,%,$1))
CLIENT_ARCHIVE := $(B)/pic/client.a
CLIENT_LIBRARIES := $(addprefix $(OUT)/,$(CLIENT_SONAME) libuserd-client.so libuserd-client.a)
CLIENT_LIBS = $(WOLFSSL_LIBS) $(shell pkg-config --libs $(CLIENT_PKGS) 2>/dev/null)
# Our own wolfSSL is nowhere but in build/, so it goes into the library; Debian's is linked with.
CLIENT_WOLFSSL := $(filter %.a,$(WOLFSSL_LIBS))

# ----------------------------------------------------------------------------------------- the targets

# Installing can change what this file reads, so a second make does the building.
SUBMAKE = +@$(MAKE) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$(JOBS) -Otarget)
NEED = @scripts/deps.sh
# Who asks for Debian's wolfSSL by name gets it installed.
VERIFY = $(if $(filter system,$(TLS)),,--verify)
RUN_TESTS = @scripts/run-tests.sh $(B) $(OUT)

.PHONY: all
all: ## build everything that is installed: build/userd and the tools (the default)
	$(NEED) $(VERIFY) build
	$(SUBMAKE) _build

.PHONY: library
library: ## build the client library alone: build/libuserd-client.so.0 and .a
	$(NEED) $(VERIFY) build
	$(SUBMAKE) _library

.PHONY: deps
deps: ## install what building, testing and running need (through apt; root or sudo)
	$(NEED) test

.PHONY: run
run: ## install what is missing, build, make certificates, serve on configs/dev.ini
	$(NEED) build
	$(SUBMAKE) _build
	@exec scripts/dev-run.sh $(OUT)

.PHONY: test
test: ## install what is missing; unit, simulation and integration tests
	$(NEED) test
	$(SUBMAKE) _build _tests _interop _clients _python
	$(RUN_TESTS) all

.PHONY: build-tests
build-tests: ## build everything, test programs included, and run nothing
	$(NEED) unit
	$(SUBMAKE) _build _tests _interop _clients

.PHONY: test-unit
test-unit: ## unit tests only (T=ring: that module)
	$(NEED) unit
	$(SUBMAKE) _tests
	$(RUN_TESTS) unit "$(T)"

.PHONY: test-sim
test-sim: ## simulations only (T=name; SEED=1 RUNS=100000: so many seeds from that one on)
	$(NEED) unit
	$(SUBMAKE) _tests
	$(RUN_TESTS) sim "$(T)" $(if $(SEED)$(RUNS),$(or $(SEED),1) $(RUNS))

.PHONY: test-mutants
test-mutants: ## seeded bugs: each must be noticed by the tests (T=part of a name)
	$(NEED) test
	$(SUBMAKE) _tests
	$(RUN_TESTS) mutants "$(T)"

.PHONY: test-integration
test-integration: ## integration tests only: real binary, foreign clients (T=part of a name)
	$(NEED) test
	$(SUBMAKE) _build _interop _clients _python
	$(RUN_TESTS) integration "$(T)"

.PHONY: test-browser
test-browser: ## the status page in a headless Chromium; pictures of it go to build/browser
	$(NEED) browser
	$(SUBMAKE) _build _python
	$(RUN_TESTS) browser "$(T)"

.PHONY: test-exhaustive
test-exhaustive: ## every bit flip and every truncation of a reference log and snapshot (about an hour)
	$(NEED) unit
	$(SUBMAKE) _tests
	@seq $(JOBS) | xargs -P $(JOBS) -I{} $(B)/tests/sim/sim_damage --exhaustive --part {}/$(JOBS)

.PHONY: test-hostile
test-hostile: ## attacks beside a well-behaved client, 100,000 malformed connections, testssl.sh (about 15 min)
	$(NEED) hostile
	$(SUBMAKE) _build _python
	$(RUN_TESTS) hostile "$(T)"

.PHONY: soak-crash
soak-crash: ## kill -9 in the middle of writes, N=1000 times
	$(NEED) test
	$(SUBMAKE) _build _python
	$(RUN_TESTS) soak test_crash SOAK_ROUNDS=$(or $(N),1000)

.PHONY: soak-power
soak-power: ## power cuts, N=200 times; needs root and loop devices
	$(NEED) test
	$(SUBMAKE) _build _python
	$(RUN_TESTS) soak test_power_cut CUTS=$(or $(N),200)

.PHONY: asan
asan: ## the tests of `make test` under AddressSanitizer and UBSan
	$(SUBMAKE) SAN=1 test

.PHONY: tsan
tsan: ## ThreadSanitizer over the only code with threads: the work pool and password hashing
	$(SUBMAKE) SAN=thread T="workpool password" test-unit

.PHONY: fuzz
fuzz: ## fuzz one parser of foreign bytes (F=grpc_frame TIME=60); keeps what it learns in build/fuzz
	$(if $(F),,$(error which target? F=name, one of: $(FUZZ_SRC:tests/fuzz/fuzz_%.c=%)))
	$(NEED) fuzz
	$(SUBMAKE) SAN=fuzz _fuzz
	@scripts/fuzz.sh build/fuzz $(or $(TIME),60) "$(F)"

.PHONY: fuzz-smoke
fuzz-smoke: ## every fuzz target for some seconds (TIME=5)
	$(NEED) fuzz
	$(SUBMAKE) SAN=fuzz _fuzz
	@scripts/fuzz.sh build/fuzz $(or $(TIME),5)

.PHONY: check
check: ## what CI runs: formatting, source rules, lint, both compilers, all tests, the browser, fuzz-smoke
	$(NEED) check
	@scripts/check.sh

.PHONY: check-source
check-source: ## folder rule, third-party headers, sizes, banned calls; then its self-test
	$(NEED) $(VERIFY) build
	$(SUBMAKE) _gen
	@scripts/check-source.sh $(CC) -std=c11 $(DEFINES) $(INCLUDES)
	@scripts/check-source.sh --self-test

.PHONY: format
format: ## format every C and C++ file in place
	@clang-format -i $(ALL_SRC) $(HEADERS) $(FOREIGN_SRC)

.PHONY: format-check
format-check: ## say which C and C++ files `make format` would change
	@clang-format --dry-run -Werror $(ALL_SRC) $(HEADERS) $(FOREIGN_SRC)

.PHONY: tidy
tidy: ## clang-tidy over src, tools and bench (T=path part)
	$(NEED) $(VERIFY) build
	$(SUBMAKE) _gen
	@printf '%s\n' $(SRC) $(TOOL_SRC) $(BENCH_SRC) | grep -e "$(T)" | xargs -P $(JOBS) -n 1 \
	    scripts/tidy.sh -std=c11 $(DEFINES) $(INCLUDES)

.PHONY: cppcheck
cppcheck: ## cppcheck over src, tools and bench
	@cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
	    --suppress=missingIncludeSystem --suppress=preprocessorErrorDirective \
	    --error-exitcode=1 -j $(JOBS) -Iinclude -Isrc \
	    $(DEFINES) $(SRC) $(TOOL_SRC) $(BENCH_SRC)

# Everything that the measurements need; what cannot be had is named by them and left out.
BENCH_ENV = PYTHONDONTWRITEBYTECODE=1 USERD=$(OUT)/userd USERCTL=$(OUT)/userctl USERBENCH=$(OUT)/userbench \
    USERWAL=$(OUT)/userwal NODE_PATH=$(CURDIR)/build/node_modules PYTHONPATH=$(GEN)/python
define bench
$(NEED) bench
$(SUBMAKE) _build _python _peers
@$(BENCH_ENV) bench/bench.py $1
endef

.PHONY: bench
bench: ## measure userd and servers beside it (under 10 min); build/bench/report.html
	$(call bench,)

.PHONY: bench-quick
bench-quick: ## the same in about 90 s, with less said
	$(call bench,--quick)

.PHONY: bench-instructions
bench-instructions: ## instructions per call by callgrind, against bench/instructions.txt (ROW=part of a name)
	$(NEED) bench
	$(SUBMAKE) _build
	@$(BENCH_ENV) bench/instructions.py --check --only "$(ROW)"

.PHONY: bench-instructions-record
bench-instructions-record: ## the same, written into bench/instructions.txt
	$(NEED) bench
	$(SUBMAKE) _build
	@$(BENCH_ENV) bench/instructions.py --record

.PHONY: bench-record
bench-record: ## write the results of the last `make bench` into docs/PERFORMANCE.md
	@PYTHONDONTWRITEBYTECODE=1 bench/bench_report.py --record

.PHONY: bench-commit
bench-commit: ## what a durable change costs, against a bare write to the same disk
	$(call bench,--only commit)

.PHONY: bench-snapshot
bench-snapshot: ## a million users: how long a start takes, and what a snapshot costs other calls
	$(call bench,--only recovery)

.PHONY: bench-client
bench-client: ## what a call costs the client library, against what it costs the server
	$(NEED) test
	$(SUBMAKE) _build
	@PYTHONDONTWRITEBYTECODE=1 USERD=$(OUT)/userd USERBENCH=$(OUT)/userbench bench/client.py

.PHONY: bench-sizing
bench-sizing: ## memory, disk and CPU of each connection, watcher, user and change
	$(NEED) test
	$(SUBMAKE) _build _python
	@PYTHONDONTWRITEBYTECODE=1 USERD=$(OUT)/userd PYTHONPATH=$(GEN)/python bench/sizing.py

.PHONY: compile-commands
compile-commands: ## compile_commands.json for editors, in build/
	$(SUBMAKE) _gen
	@scripts/compile-commands.sh $(CC) $(TEST_CFLAGS) -- $(ALL_SRC) >build/compile_commands.json
	@echo "build/compile_commands.json"

.PHONY: man
man: all ## the manual pages, in build/man
	@scripts/man.sh $(OUT) build/man $(SYSCONFDIR)
	@echo "build/man"

# Type=notify-reload came with systemd 253; before it, SIGHUP is sent by a command. Whoever installs for
# another machine says which version that one has: make install SYSTEMD_VERSION=252.
SYSTEMD_VERSION ?= $(shell systemctl --version 2>/dev/null | sed -n '1 s/^systemd \([0-9]*\).*/\1/p')
BINDIR := $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR := $(PREFIX)/share/man
SHAREDIR := $(PREFIX)/share/userd
UNITDIR := $(PREFIX)/lib/systemd/system
SYSUSERSDIR := $(PREFIX)/lib/sysusers.d
BASHCOMPDIR := $(PREFIX)/share/bash-completion/completions
ZSHCOMPDIR := $(PREFIX)/share/zsh/site-functions

.PHONY: install-library
install-library: library ## the client library alone: header, libraries, pkg-config file (DESTDIR, PREFIX, LIBDIR, INCLUDEDIR)
	install -d $(addprefix $(DESTDIR),$(LIBDIR)/pkgconfig $(INCLUDEDIR)/userd)
	install -m 644 include/userd/client.h $(DESTDIR)$(INCLUDEDIR)/userd
	install -m 755 $(OUT)/$(CLIENT_SONAME) $(DESTDIR)$(LIBDIR)
	ln -sf $(CLIENT_SONAME) $(DESTDIR)$(LIBDIR)/libuserd-client.so
	install -m 644 $(OUT)/libuserd-client.a $(DESTDIR)$(LIBDIR)
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|; s|@VERSION@|$(VERSION)|' \
	    -e 's|@LIBS@|$(strip $(filter-out $(CLIENT_WOLFSSL),$(CLIENT_LIBS)) -pthread)|' \
	    src/client/userd-client.pc.in >$(DESTDIR)$(LIBDIR)/pkgconfig/userd-client.pc
	chmod 644 $(DESTDIR)$(LIBDIR)/pkgconfig/userd-client.pc

.PHONY: install
install: man install-library ## programs, client library, configuration, manual pages, systemd units (DESTDIR, PREFIX, LIBDIR, SYSCONFDIR)
	install -d $(addprefix $(DESTDIR),$(BASHCOMPDIR) $(ZSHCOMPDIR) $(BINDIR) $(SYSCONFDIR)/userd $(UNITDIR) $(SYSUSERSDIR) $(SHAREDIR) \
	    $(MANDIR)/man1 $(MANDIR)/man5 $(MANDIR)/man8)
	install -m 755 $(USERD) $(TOOLS) $(DESTDIR)$(BINDIR)
	@scripts/install-config.sh configs/userd.ini $(DESTDIR)$(SYSCONFDIR)/userd/userd.ini
	sed -e 's|@BINDIR@|$(BINDIR)|; s|@SYSCONFDIR@|$(SYSCONFDIR)|g' -e $(if $(shell \
	    [ "$(or $(SYSTEMD_VERSION),0)" -ge 253 ] && echo new),'s|@TYPE@|Type=notify-reload|','s|@TYPE@|Type=notify\nExecReload=/bin/kill -HUP $$MAINPID|') \
	    deploy/systemd/userd.service.in >$(DESTDIR)$(UNITDIR)/userd.service
	chmod 644 $(DESTDIR)$(UNITDIR)/userd.service
	install -m 644 deploy/systemd/userd.socket $(DESTDIR)$(UNITDIR)
	install -m 644 deploy/systemd/userd.sysusers $(DESTDIR)$(SYSUSERSDIR)/userd.conf
	install -m 644 build/man/*.1 $(DESTDIR)$(MANDIR)/man1
	install -m 644 build/man/*.5 $(DESTDIR)$(MANDIR)/man5
	install -m 644 build/man/*.8 $(DESTDIR)$(MANDIR)/man8
	@# Asked of the program that was installed, so that both are of one table.
	$(OUT)/userctl completion bash >$(DESTDIR)$(BASHCOMPDIR)/userctl
	$(OUT)/userctl completion zsh >$(DESTDIR)$(ZSHCOMPDIR)/_userctl
	chmod 644 $(DESTDIR)$(BASHCOMPDIR)/userctl $(DESTDIR)$(ZSHCOMPDIR)/_userctl
	install -m 644 deploy/prometheus/alerts.yml deploy/prometheus/dashboard.json \
	    deploy/kubernetes/seccomp-userd.json $(DESTDIR)$(SHAREDIR)
	@echo
	@echo "Installed. What is left to do is in docs/OPERATIONS.md, \"Install and run as a service\":"
	@echo "    systemd-sysusers && systemctl daemon-reload     # the user userd, the units"
	@echo "    certificate, key, token secret to $(SYSCONFDIR)/userd, root:userd, mode 0640"
	@echo "    userd --config $(SYSCONFDIR)/userd/userd.ini --check, then systemctl enable --now userd"
	@echo "    ldconfig                                        # programs find libuserd-client"

.PHONY: uninstall
uninstall: ## remove what `make install` put there, but for configuration and data
	rm -f $(addprefix $(DESTDIR)$(BINDIR)/,userd $(notdir $(TOOLS))) \
	    $(addprefix $(DESTDIR)$(UNITDIR)/,userd.service userd.socket) $(DESTDIR)$(SYSUSERSDIR)/userd.conf \
	    $(DESTDIR)$(BASHCOMPDIR)/userctl $(DESTDIR)$(ZSHCOMPDIR)/_userctl \
	    $(addprefix $(DESTDIR)$(MANDIR)/,man1/userctl.1 man1/userwal.1 man5/userd.ini.5 man8/userd.8) \
	    $(addprefix $(DESTDIR)$(SHAREDIR)/,alerts.yml dashboard.json seccomp-userd.json) \
	    $(addprefix $(DESTDIR)$(LIBDIR)/,$(notdir $(CLIENT_LIBRARIES)) pkgconfig/userd-client.pc) \
	    $(DESTDIR)$(INCLUDEDIR)/userd/client.h
	-rmdir $(DESTDIR)$(INCLUDEDIR)/userd
	-rmdir $(DESTDIR)$(SHAREDIR)

.PHONY: clean
clean: ## remove what was built; keep the built wolfSSL, the npm packages, what fuzzing found
	rm -rf build/gen build/man build/peers build/release* build/asan* build/tsan* build/check-logs \
	    build/compile_commands.json build/userd build/userctl build/userwal build/userbench \
	    build/interop-server build/client-driver build/client-rounds build/peer-cpp build/libuserd-client.*
	rm -rf $(addprefix build/fuzz/,obj tests logs flags libuserd.a libtest.a)

.PHONY: distclean
distclean: ## remove everything made, development certificates and data included
	rm -rf build run

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@sed -n '/^# Variables:/,/^# Each/ s/^#//p' $(firstword $(MAKEFILE_LIST))

# --------------------------------------------------------------------------------------------- building

.PHONY: _build _library _tests _fuzz _interop _clients _peers _lib _gen _python FORCE
_build: $(USERD) $(TOOLS) $(BENCHES) $(if $(K),,$(CLIENT_LIBRARIES)) ; @:
_library: $(CLIENT_LIBRARIES) ; @:
_tests: $(UNIT_TESTS) $(SIM_TESTS) $(B)/commands ; @:
_fuzz: $(FUZZ_TARGETS) ; @:
_interop: $(INTEROP_SERVER) ; @:
_clients: $(CLIENT_DRIVER) $(PEER_CPP) $(BENCH_PEERS) ; @:
_peers: $(BENCH_PEERS) ; @:
_lib: $(LIB_OBJ) ; @:
_gen: $(GEN_H) ; @:
_python: $(PY_GEN) $(GRPC_PY_GEN) $(GEN)/tests/userctl_every.binpb ; @:

Q := $(if $(V),,@)
ifneq ($(V),)
say = @:
else
say = @printf '%-4s %s\n' $1 $2
endif

# Rebuilt when the compiler or a flag changed, and only then.
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(CC) $(TEST_CFLAGS) $(ALL_LDFLAGS) $(LIBS))' | cmp -s - $@ || \
	    printf '%s\n' '$(subst ','\'',$(CC) $(TEST_CFLAGS) $(ALL_LDFLAGS) $(LIBS))' >$@

# How the seeded bugs are compiled and linked, for tests/mutants/run.py: compiler, linker, libraries.
$(B)/commands: $(B)/flags
	@printf '%s\n' '$(subst ','\'',$(CC) $(BASE_CFLAGS) -w)' '$(subst ','\'',$(CC) $(ALL_LDFLAGS))' \
	    '$(subst ','\'',$(LIBS) $(CHECK_LIBS))' >$@

# Warnings of protoc-c (an import the contract asks for is unused) are shown only when it fails.
protoc_c = protoc-c --c_out=$(GEN) -Iproto -I/usr/include $1 2>$@.log || { cat $@.log >&2; exit 1; }
$(GEN)/google/protobuf/%.pb-c.c $(GEN)/google/protobuf/%.pb-c.h: /usr/include/google/protobuf/%.proto
	$(call say,GEN,$<)
	@mkdir -p $(@D)
	$(Q)$(call protoc_c,google/protobuf/$*.proto)
$(GEN)/grpc/testing/%.pb-c.c $(GEN)/grpc/testing/%.pb-c.h: $(GRPC_PROTOS)/grpc/testing/%.proto
	$(call say,GEN,$<)
	@mkdir -p $(@D)
	$(Q)$(call protoc_c,-I$(GRPC_PROTOS) grpc/testing/$*.proto)
$(GEN)/%.pb-c.c $(GEN)/%.pb-c.h: proto/%.proto
	$(call say,GEN,$<)
	@mkdir -p $(@D)
	$(Q)$(call protoc_c,$<)

$(GEN)/embedded/status_page.c: src/service/status_page.html $(wildcard src/service/status_page*) scripts/embed.sh
	$(call say,GEN,$@)
	@mkdir -p $(@D)
	$(Q)scripts/embed.sh embedded_status_page $< >$@

# The log of protoc-c is shown when it fails, as above.
$(GEN)/descriptors.binpb: $(PROTOS) $(wildcard $(DESCRIBED_PROTOS:%=$(GRPC_PROTOS)/%))
	$(call say,GEN,$@)
	@mkdir -p $(@D)
	$(Q)protoc-c --descriptor_set_out=$@ --include_imports -Iproto -I/usr/include -I$(GRPC_PROTOS) \
	    $(DESCRIBED_PROTOS) 2>$@.log || { cat $@.log >&2; exit 1; }
$(GEN)/embedded/descriptors.c: $(GEN)/descriptors.binpb scripts/embed.sh
	$(call say,GEN,$@)
	@mkdir -p $(@D)
	$(Q)scripts/embed.sh embedded_descriptors $< >$@

# What the unit tests of `userctl call` know of messages, as bytes in C.
$(GEN)/tests/userctl_every.binpb: $(wildcard tests/unit/userctl_every*.proto)
	$(call say,GEN,$@)
	@mkdir -p $(@D)
	$(Q)protoc-c --descriptor_set_out=$@ --include_imports -Itests/unit -I/usr/include \
	    tests/unit/userctl_every.proto 2>$@.log || { cat $@.log >&2; exit 1; }
$(GEN)/tests/userctl_every.c: $(GEN)/tests/userctl_every.binpb scripts/embed.sh
	$(call say,GEN,$@)
	$(Q)scripts/embed.sh userctl_every_descriptors $< >$@

# Messages and client stubs for the Python tests: PYTHONPATH=build/gen/python.
protoc_python = protoc -Iproto -I/usr/include -I$(GRPC_PROTOS) --python_out=$(GEN)/python \
    --grpc_python_out=$(GEN)/python --plugin=protoc-gen-grpc_python=/usr/bin/grpc_python_plugin \
    $1 2>$@.log || { cat $@.log >&2; exit 1; }
$(GEN)/python/%_pb2.py: proto/%.proto
	$(call say,GEN,$@)
	@mkdir -p $(@D)
	$(Q)$(call protoc_python,$<)
$(GEN)/python/grpc/%_pb2.py: $(GRPC_PROTOS)/grpc/%.proto
	$(call say,GEN,$@)
	@mkdir -p $(@D)
	$(Q)$(call protoc_python,grpc/$*.proto)

$(B)/obj/gen/%.o: $(GEN)/%.c $(B)/flags | $(GEN_H)
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(BASE_CFLAGS) -w -c $< -o $@

$(B)/obj/tests/%.o: tests/%.c $(B)/flags | $(GEN_H)
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(TEST_CFLAGS) -MD -MP -c $< -o $@

# What is compared within a checksum teaches libFuzzer nothing, and takes half of its time.
ifeq ($(SAN),fuzz)
$(B)/obj/src/core/hash.o: ALL_CFLAGS += -fno-sanitize-coverage=trace-cmp
endif

# libFuzzer calls LLVMFuzzerTestOneInput, but no header declares it.
$(B)/obj/tests/fuzz/%.o: tests/fuzz/%.c $(B)/flags | $(GEN_H)
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(TEST_CFLAGS) -Wno-missing-prototypes -MD -MP -c $< -o $@

$(B)/obj/%.o: %.c $(B)/flags | $(GEN_H)
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -MD -MP -c $< -o $@

# The same for the client library, which programs load anywhere and see the public face of.
PIC := -fPIC -fvisibility=hidden $(if $(CLIENT_WOLFSSL),,-DUSERD_SHARED_WOLFSSL)
$(B)/pic/gen/%.o: $(GEN)/%.c $(B)/flags | $(GEN_H)
	$(call say,CC,"$< (library)")
	@mkdir -p $(@D)
	$(Q)$(CC) $(BASE_CFLAGS) $(PIC) -w -c $< -o $@

$(B)/pic/%.o: %.c $(B)/flags | $(GEN_H)
	$(call say,CC,"$< (library)")
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(PIC) -MD -MP -c $< -o $@

# Made aside and moved, so that nobody ever links half an archive.
archive = rm -f $@.new && $(AR) qcs $@.new $1 && mv $@.new $@

# With K=1 the archive takes the objects that could be made, so one broken file does not stop the others.
ifeq ($(K),)
$(LIBUSERD): $(LIB_OBJ)
	$(call say,AR,$@)
	$(Q)$(call archive,$^)
else
$(LIBUSERD): FORCE
	+@$(MAKE) --no-print-directory -k _lib || echo "K=1: going on with what compiled"
	$(Q)$(call archive,$$(ls $(LIB_OBJ) 2>/dev/null))
endif

$(B)/libtest.a: $(call obj,$(TESTLIB_SRC))
	$(call say,AR,$@)
	$(Q)$(call archive,$^)

$(CLIENT_ARCHIVE): $(call pic,$(CLIENT_SRC) $(CLIENT_GEN))
	$(Q)$(call archive,$^)

# What sanitizers call is in the program alone.
$(OUT)/$(CLIENT_SONAME): $(call pic,$(CLIENT_FACE)) $(CLIENT_ARCHIVE) $(CLIENT_MAP)
	$(call say,LD,$@)
	$(Q)$(CC) $(filter-out -pie,$(ALL_LDFLAGS)) -shared -Wl,-soname,$(CLIENT_SONAME) \
	    -Wl,--version-script=$(CLIENT_MAP) $(if $(SAN),,-Wl,--no-undefined) -o $@ \
	    $(filter %.o %.a,$^) $(CLIENT_LIBS)

$(OUT)/libuserd-client.so: $(OUT)/$(CLIENT_SONAME)
	@ln -sf $(CLIENT_SONAME) $@

# One object, of which only the public face can be seen: no name of ours meets one of the program's.
$(OUT)/libuserd-client.a: $(call pic,$(CLIENT_FACE)) $(CLIENT_ARCHIVE) $(CLIENT_MAP)
	$(call say,AR,$@)
	$(Q)$(LD) -r -o $(B)/pic/userd-client.o $(filter %.o %.a,$^) $(CLIENT_WOLFSSL)
	$(Q)sed -n 's/^ *\(userd_[a-z_]*\);.*/\1/p' $(CLIENT_MAP) >$(B)/pic/symbols
	$(Q)objcopy --keep-global-symbols=$(B)/pic/symbols $(B)/pic/userd-client.o
	$(Q)rm -f $@ && $(AR) qcs $@ $(B)/pic/userd-client.o

# The two archives may need each other (fakes stand in for what the library calls).
link = $(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^)
define link_program
$(call say,LD,$@)
@mkdir -p $(@D)
$(Q)$(link) $(LIBUSERD) $(LIBS)
endef
define link_test
$(call say,LD,$@)
@mkdir -p $(@D)
$(Q)$(link) -Wl,--start-group $(LIBTEST) $(LIBUSERD) -Wl,--end-group $(LIBS) $(CHECK_LIBS)
endef

$(OUT)/userd: $(B)/obj/src/main.o $(LIBUSERD)
	$(link_program)

$(call obj,$(INTEROP_SRC)): | $(INTEROP_GEN_H)
$(OUT)/interop-server: $(call obj,$(INTEROP_SRC)) $(INTEROP_GEN_C:build/%.c=$(B)/obj/%.o) $(LIBUSERD)
	$(link_program)

# Sees nothing but the public header.
$(call obj,$(DRIVER_SRC)): private TEST_CFLAGS := $(WARNINGS) -std=c11 $(DEFINES) $(MODE) $(HARDEN) -pthread \
    -Iinclude -Itests $(CFLAGS)
$(OUT)/client-driver: $(call obj,$(filter %_driver.c,$(DRIVER_SRC)) $(filter tests/client/client_driver_%,$(DRIVER_SRC)))
$(OUT)/client-rounds: $(call obj,$(filter %_rounds.c,$(DRIVER_SRC)))
$(CLIENT_DRIVER): $(OUT)/libuserd-client.a
	$(call say,LD,$@)
	$(Q)$(link) $(OUT)/libuserd-client.a $(CLIENT_LIBS)

# Other people's code, compiled as they would: no part of the variants.
PEER_GEN := $(addprefix $(GEN)/cpp/,users/v1/users grpc/health/v1/health)
PEER_PROTOS := proto/users/v1/users.proto proto/google/rpc/status.proto $(GRPC_PROTOS)/grpc/health/v1/health.proto
PEER_LIB := $(GEN)/cpp/peer.a
PEER_CXX := g++ -std=c++17 -O2 -Wall -Wextra -isystem $(GEN)/cpp
PEER_LIBS = $$(pkg-config --libs grpc++ protobuf)
$(PEER_LIB): $(PEER_PROTOS)
	$(call say,GEN,$@)
	@mkdir -p $(GEN)/cpp
	$(Q)protoc -Iproto -I/usr/include -I$(GRPC_PROTOS) --cpp_out=$(GEN)/cpp --grpc_out=$(GEN)/cpp \
	    --plugin=protoc-gen-grpc=/usr/bin/grpc_cpp_plugin $(PEER_PROTOS) 2>$@.log || { cat $@.log >&2; exit 1; }
	$(Q)for part in $(PEER_GEN:=.pb) $(PEER_GEN:=.grpc.pb) $(GEN)/cpp/google/rpc/status.pb; do \
	    $(PEER_CXX) -c -o $$part.o $$part.cc || exit 1; done
	$(Q)ar rcs $@ $(addsuffix .o,$(PEER_GEN:=.pb) $(PEER_GEN:=.grpc.pb) $(GEN)/cpp/google/rpc/status.pb)
	@rm -f $@.log

build/peer-cpp: tests/peers/peer_cpp.cc $(PEER_LIB)
	$(call say,CXX,$<)
	$(Q)$(PEER_CXX) -o $@ $< $(PEER_LIB) $(PEER_LIBS)

# The servers that userd is measured against.
build/peers/grpc-cpp: $(wildcard bench/peers/grpc_cpp*.cc bench/peers/*.hh) $(PEER_LIB)
	$(call say,CXX,$@)
	@mkdir -p $(@D)
	$(Q)$(PEER_CXX) -o $@ $(filter %.cc,$^) $(PEER_LIB) $(PEER_LIBS) -lcrypto

.SECONDEXPANSION:
$(TOOLS): $(OUT)/%: $(B)/obj/tools/%.o $$(call obj,$$(wildcard tools/$$*_*.c tools/common_*.c)) $(LIBUSERD)
	$(link_program)
$(BENCHES): $(OUT)/%: $(B)/obj/bench/%.o $$(call obj,$$(wildcard bench/$$*_*.c)) $(LIBUSERD)
	$(link_program)
$(UNIT_TESTS): $(B)/tests/unit/%: $(B)/obj/tests/unit/%.o $(LIBTEST) $(LIBUSERD)
	$(link_test)
# The parts of userctl that know no server have unit tests, as the library has.
USERCTL_PURE := $(addprefix tools/,common_arguments.c common_json.c common_read.c userctl_arguments.c \
    userctl_completion.c userctl_config.c userctl_decode.c userctl_decode_known.c userctl_decode_map.c \
    userctl_encode.c userctl_encode_known.c userctl_encode_scalar.c userctl_scalar.c userctl_schema.c \
    userctl_schema_link.c userctl_schema_read.c userctl_table.c userctl_terminal.c userctl_time.c \
    userctl_wanted.c userctl_wire.c)
$(filter $(B)/tests/unit/test_userctl_%,$(UNIT_TESTS)): $(call obj,$(USERCTL_PURE)) \
    $(B)/obj/gen/tests/userctl_every.o
# So have those of userbench.
$(filter $(B)/tests/unit/test_userbench_%,$(UNIT_TESTS)): \
    $(call obj,$(addprefix bench/userbench_,histogram.c ids.c))
$(SIM_TESTS): $(B)/tests/sim/%: $(B)/obj/tests/sim/%.o $(LIBTEST) $(LIBUSERD)
	$(link_test)
$(FUZZ_TARGETS): link += -fsanitize=fuzzer
$(filter $(B)/tests/fuzz/fuzz_userctl_%,$(FUZZ_TARGETS)): $(call obj,$(USERCTL_PURE)) \
    $(B)/obj/gen/tests/userctl_every.o
# It keeps the window's memory from one input to the next.
$(B)/tests/fuzz/fuzz_wal_recover: link += -Wl,--wrap=wal_window_init,--wrap=wal_window_deinit
$(FUZZ_TARGETS): $(B)/tests/fuzz/%: $(B)/obj/tests/fuzz/%.o $(LIBTEST) $(LIBUSERD)
	$(link_test)

.SECONDARY:
-include $(patsubst %.c,$(B)/obj/%.d,$(ALL_SRC)) $(patsubst %.c,$(B)/pic/%.d,$(CLIENT_SRC))
