# SPDX-License-Identifier: Apache-2.0
#
#   make            build .output/spanhound
#   make demo       install what is needed, build, trace two real programs, show their spans
#   make test       install what is needed, build, run every test
#   make help       the rest
#
# O=dir (output), V=1 (commands), DEBUG=1 (-O0 -g3), SAN=address|undefined, WERROR=1, CC=clang, ARCH=arm64 (cross)
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := all

# Debian's names of architectures. Another one than this machine's is cross-compiled, into a folder of its own.
HOST_ARCH := $(patsubst aarch64,arm64,$(patsubst x86_64,amd64,$(shell uname -m)))
ARCH      ?= $(HOST_ARCH)
GNU_ARCH  := $(patsubst arm64,aarch64,$(patsubst amd64,x86_64,$(ARCH)))
ifeq ($(ARCH),$(HOST_ARCH))
  O ?= .output
else
  O ?= .output-$(ARCH)
  CROSS := $(GNU_ARCH)-linux-gnu-
  # Runs a program of that architecture here.
  EMULATOR := qemu-$(GNU_ARCH)-static
endif
PREFIX ?= /usr/local
ifeq ($(origin CC),default)
CC := $(CROSS)gcc
endif
ifeq ($(origin AR),default)
AR := $(CROSS)ar
endif
STRIP   ?= $(CROSS)strip
CLANG   ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool /usr/local/sbin/bpftool) bpftool)

ifeq ($(V),1)
  Q =
  msg =
else
  Q = @
  msg = @printf '  %-8s %s\n' "$(1)" "$(patsubst $(O)/%,%,$(2))";
endif

# --- what a machine needs: one list, used by demo, test and CI alike -------------------------------------------------
DEBS := gcc g++ make pkg-config clang llvm bpftool libbpf-dev libelf-dev zlib1g-dev liblzma-dev libcapstone-dev \
        libfyaml-dev uthash-dev libjansson-dev libmsgpack-dev libcurl4-openssl-dev libpcre2-dev libmicrohttpd-dev libseccomp-dev libiberty-dev linux-libc-dev git
DEMO_DEBS := redis-server procps
# Who has a Rust of their own (rustup) needs no other. Asked when it matters, not at every make.
TEST_DEBS  = $(DEMO_DEBS) libcmocka-dev libclang-rt-14-dev clang-format bpftrace nginx python3 python3-venv ca-certificates \
             redis-tools gdb binutils xz-utils strace mount util-linux curl iproute2 iptables wrk apache2-bin apache2-utils \
             haproxy ruby media-types mandoc dpkg-dev systemd \
             $(if $(shell rustc --version 2>/dev/null),,rustc)
# Of the other architecture; headers are those of DEBS.
ARM64_DEBS := gcc-aarch64-linux-gnu qemu-user-static \
              $(patsubst %,%:arm64,$(filter lib%-dev zlib1g-dev,$(filter-out linux-libc-dev uthash-dev,$(DEBS)) libcmocka-dev) libc6-dev)
PACKAGE_DEBS := podman buildah runc
KERNEL_DEBS := qemu-system-x86 seabios busybox-static

# --- flags -----------------------------------------------------------------------------------------------------------
WARN := -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wshadow -Wpointer-arith -Wwrite-strings
ifneq ($(WERROR)$(CI),)
WARN += -Werror
endif
OPT := $(if $(DEBUG),-O0 -g3,-O2 -g)
ifneq ($(SAN),)
OPT += -fsanitize=$(SAN) -fno-omit-frame-pointer
LDFLAGS += -fsanitize=$(SAN)
endif
# What a privileged program that reads foreign bytes owes its host; tests/lint/hardening looks whether the binary has it.
# _FORTIFY_SOURCE needs an optimising compiler, and hides from a sanitizer what it would report.
HARDEN := -fPIE -fstack-protector-strong -fstack-clash-protection \
          $(if $(filter amd64,$(ARCH)),-fcf-protection=full) $(if $(filter arm64,$(ARCH)),-mbranch-protection=standard) \
          $(if $(DEBUG)$(SAN),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
LDFLAGS += -pie -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code -Wl,--as-needed
PKGS     := libbpf libelf zlib liblzma capstone libfyaml jansson msgpack libcurl libpcre2-8 libmicrohttpd libseccomp
CPPFLAGS += -D_GNU_SOURCE -Iinclude -Iuserspace -I$(O) -I/usr/include/libiberty
CFLAGS   += -std=gnu11 $(OPT) $(HARDEN) $(WARN) -fvisibility=hidden
LDLIBS   += -lbpf -lelf -lz -llzma -lcapstone -lfyaml -ljansson -lmsgpackc -lcurl -lpcre2-8 -lmicrohttpd -lseccomp -liberty -lpthread -lm
BPF_ARCH := $(patsubst amd64,x86,$(ARCH))
BPF_CFLAGS := -g -O2 -target bpf -mcpu=v3 -D__TARGET_ARCH_$(BPF_ARCH) -Iinclude -Ibpf -I/usr/include/$(GNU_ARCH)-linux-gnu \
              -Wall -Wextra -Wno-unused-parameter $(if $(WERROR)$(CI),-Werror)

# --- sources, by wildcard --------------------------------------------------------------------------------------------
FOLDERS := base binary protocol trace target kernel probe flow export
LIBS    := $(foreach f,$(FOLDERS),$(if $(wildcard userspace/$f/*.c),$(O)/lib$f.a))
APP_OBJ := $(patsubst %.c,$(O)/%.o,$(wildcard userspace/app/*.c))
BPF_SRC := $(filter-out bpf/maps.bpf.c,$(wildcard bpf/*.bpf.c))
# The object that defines the maps comes first: bpftool gives maps of later objects offset 0 otherwise.
BPF_OBJ := $(patsubst %.bpf.c,$(O)/%.bpf.o,bpf/maps.bpf.c $(BPF_SRC))
SKEL    := $(O)/spanhound.skel.h

.PHONY: all
all: $(O)/spanhound

$(O)/spanhound: $(APP_OBJ) $(LIBS)
	$(call msg,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(APP_OBJ) -Wl,--start-group $(LIBS) -Wl,--end-group $(LDLIBS)

define folder_lib
$(O)/lib$(1).a: $(patsubst %.c,$(O)/%.o,$(wildcard userspace/$(1)/*.c userspace/$(1)/*/*.c))
	$$(call msg,AR,$$@)
	$$(Q)rm -f $$@ && $$(AR) rcs $$@ $$^
endef
$(foreach f,$(FOLDERS),$(eval $(call folder_lib,$f)))

# Objects are rebuilt when the flags change (SAN=, DEBUG=, CC=), not only when a source does.
FLAGS_NOW := $(CC) $(CPPFLAGS) $(CFLAGS) $(BPF_CFLAGS)
$(O)/flags: force
	@mkdir -p $(@D)
	@echo '$(FLAGS_NOW)' | cmp -s - $@ || echo '$(FLAGS_NOW)' >$@
.PHONY: force

GIT_VERSION := $(shell git describe --always --dirty --tags 2>/dev/null || echo unknown)
$(O)/version.h: force
	@mkdir -p $(@D)
	@echo '#define SPANHOUND_VERSION "$(VERSION)"' >$@.new
	@echo '#define SPANHOUND_COMMIT "$(GIT_VERSION)"' >>$@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(O)/userspace/%.o: userspace/%.c $(O)/flags
	$(call msg,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(O)/bpf/%.bpf.o: bpf/%.bpf.c $(O)/flags
	$(call msg,BPF,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -c -o $@ $<

$(O)/spanhound.bpf.o: $(BPF_OBJ)
	$(call msg,GEN-OBJ,$@)
	$(Q)$(BPFTOOL) gen object $@ $^

$(SKEL): $(O)/spanhound.bpf.o
	$(call msg,GEN-SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name spanhound >$@

$(patsubst %.c,$(O)/%.o,$(wildcard userspace/kernel/*.c)): | $(SKEL)
$(APP_OBJ) $(patsubst %.c,$(O)/%.o,$(wildcard userspace/export/*.c)): | $(O)/version.h

-include $(shell find $(addprefix $(O)/,userspace bpf unit fuzz) -type f -name '*.d' 2>/dev/null)

# --- dependencies ----------------------------------------------------------------------------------------------------
.PHONY: deps deps-demo deps-test deps-kernels deps-arm64 deps-packages
deps:
	@tests/install-debs $(DEBS)
deps-demo:
	@tests/install-debs $(DEBS) $(DEMO_DEBS)
deps-test:
	@tests/install-debs $(DEBS) $(TEST_DEBS)
deps-kernels:
	@tests/install-debs $(DEBS) $(TEST_DEBS) $(KERNEL_DEBS)

deps-packages:
	@tests/install-debs $(DEBS) $(TEST_DEBS) $(PACKAGE_DEBS)
deps-arm64:
	@tests/install-debs $(DEBS) libcmocka-dev python3
	@dpkg --print-foreign-architectures | grep -qx arm64 || { dpkg --add-architecture arm64 && apt-get update -qq; }
	@tests/install-debs $(ARM64_DEBS)

VENV := $(O)/venv
$(VENV)/.done: tests/requirements.txt
	$(call msg,VENV,$@)
	$(Q)python3 -m venv $(VENV) && $(VENV)/bin/pip install -q --disable-pip-version-check -r $< && touch $@

# --- tests -----------------------------------------------------------------------------------------------------------
UNIT_BIN := $(patsubst tests/unit/%.c,$(O)/unit/%,$(wildcard tests/unit/test_*.c))
$(O)/unit/%: tests/unit/%.c $(LIBS) $(O)/flags
	$(call msg,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Itests/unit $(CFLAGS) -Wno-missing-prototypes $(LDFLAGS) -MMD -MP -MF $@.d -o $@ $< \
		-Wl,--start-group $(LIBS) -Wl,--end-group -lcmocka $(LDLIBS)

# Programs of the kernel half's headers alone, for tests that run them.
UNIT_BPF := $(patsubst tests/unit/%.bpf.c,$(O)/unit/%.bpf.o,$(wildcard tests/unit/*.bpf.c))
$(O)/unit/%.bpf.o: tests/unit/%.bpf.c $(O)/flags
	$(call msg,BPF,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -Itests/unit -MMD -MP -c -o $@ $<

.PHONY: unit
unit: $(UNIT_BIN) $(UNIT_BPF)

FUZZ_BIN := $(patsubst tests/fuzz/%.c,$(O)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SRC := $(foreach f,base binary protocol trace target flow,$(wildcard userspace/$f/*.c userspace/$f/*/*.c)) \
            $(foreach f,list condition template values,$(wildcard userspace/probe/$f*.c))
# Null pointers and the sizes of objects are AddressSanitizer's; checked twice they take as long to compile as all else.
FUZZ_CFLAGS := -std=gnu11 -O1 -gline-tables-only -fsanitize=address,undefined -fno-sanitize=null,object-size,alignment
$(O)/fuzz/obj/%.o: %.c $(O)/flags
	$(call msg,FUZZ-CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(CPPFLAGS) $(FUZZ_CFLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<
$(O)/libfuzz.a: $(patsubst %.c,$(O)/fuzz/obj/%.o,$(FUZZ_SRC))
	$(Q)rm -f $@ && $(AR) rcs $@ $^
$(O)/fuzz/%: tests/fuzz/%.c $(O)/libfuzz.a
	$(call msg,FUZZ,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(CPPFLAGS) $(FUZZ_CFLAGS) -fsanitize=fuzzer -MMD -MP -MF $@.d -o $@ $< $(O)/libfuzz.a $(LDLIBS)

PROGRAM_SRC := $(wildcard tests/e2e/programs/*)
.PHONY: fuzzers programs
fuzzers: $(FUZZ_BIN)
programs: | $(O)/spanhound
	@$(MAKE) -s -C tests/e2e/programs O=$(abspath $(O))/programs CC=$(CC)

.PHONY: test
test: deps-test
	@$(MAKE) --no-print-directory WERROR=1 test-built
.PHONY: test-built
test-built: $(O)/spanhound unit fuzzers programs $(VENV)/.done
	@$(VENV)/bin/python tests/run.py --output $(O)

# The tests with the counts that take longer than a change should wait for.
.PHONY: soak
soak: deps-test
	@SPANHOUND_SOAK=1 $(MAKE) --no-print-directory WERROR=1 test-built

.PHONY: fuzz
fuzz: deps-test
	@$(MAKE) --no-print-directory fuzzers
	@for f in $(FUZZ_BIN); do tests/fuzz/run $$f $${FUZZ_SECONDS:-300} || exit 1; done

# Packages, archives and images are made; containers run.
.PHONY: test-packages
test-packages: deps-packages
	@$(MAKE) --no-print-directory WERROR=1 $(O)/spanhound programs $(VENV)/.done
	@SPANHOUND_PACKAGES=1 $(MAKE) --no-print-directory WERROR=1 test-packages-built
.PHONY: test-packages-built
test-packages-built:
	@$(VENV)/bin/python tests/run.py --output $(O) --only packages

# Another architecture: everything is compiled, and what is pure runs in QEMU's user mode.
.PHONY: test-arm64
test-arm64: deps-arm64
	@$(MAKE) --no-print-directory ARCH=arm64 WERROR=1 test-emulated
.PHONY: test-emulated
test-emulated: $(O)/spanhound unit
	@python3 tests/run.py --output $(O) --only unit $(if $(EMULATOR),--emulator $(EMULATOR))

# Kernels of distributions, from their packages, in QEMU: the newest of each pattern that the package sources have.
TEST_KERNEL_DEBS ?= linux-image-6.1.0-*[0-9]-amd64-unsigned linux-image-6.12.*[0-9]-amd64-unsigned
.PHONY: test-kernels
test-kernels: deps-kernels
	@$(MAKE) --no-print-directory WERROR=1 $(O)/spanhound programs $(VENV)/.done
	@$(VENV)/bin/python tests/kernels/run.py --output $(O) $(foreach d,$(TEST_KERNEL_DEBS),'$d')

.PHONY: bench
bench: deps-test
	@$(MAKE) --no-print-directory $(O)/spanhound programs $(VENV)/.done
	@$(MAKE) -s -C tests/bench/programs O=$(abspath $(O)) CC=$(CC)
	@$(VENV)/bin/python tests/bench/run.py --output $(O)

.PHONY: demo
demo: deps-demo
	@$(MAKE) --no-print-directory $(O)/spanhound
	@$(MAKE) -s -C tests/e2e/programs O=$(abspath $(O))/programs CC=$(CC) $(abspath $(O))/programs/o2/shop
	@tests/demo $(O)

.PHONY: lint format
lint:
	@tests/lint/run
format:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

include deploy/package.mk

.PHONY: clean help
clean:
	rm -rf $(O)
help:
	@sed -n '2,8s/^# \{0,1\}//p' Makefile
	@echo '  make deps       install the packages the build needs (Debian)'
	@echo '  make test-kernels  the kernels of Debian 12 in QEMU (TEST_KERNEL_DEBS=)'
	@echo '  make test-packages  make deb, tarball and image, run the image in containers'
	@echo '  make test-arm64  cross-compile for arm64, run the unit tests in QEMU (user mode)'
	@echo '  make bench      the figures, as ratios measured in one run'
	@echo '  make soak       the tests with their full counts'
	@echo '  make fuzz       every fuzz target for FUZZ_SECONDS (300)'
	@echo '  make lint       include direction, formatting, licence lines'
	@echo '  make format     clang-format over the tree'
	@echo '  make install    DESTDIR= PREFIX=/usr/local: binary, manual pages, completion, systemd unit'
	@echo '  make deb, tarball, image   packages, in $(PACKAGES)'
