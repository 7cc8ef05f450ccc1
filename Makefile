# libpprofshim.so: /debug/pprof/ for programs that nobody recompiled. `make help` lists the targets.
#
# CC CXX CFLAGS CPPFLAGS LDFLAGS PREFIX DESTDIR are honoured, V=1 shows the commands, CI=true makes
# warnings errors, DEBUG=1 builds what checks itself (shim/base/sync.h) in build/debug.
# All that is made lands in build/.
#
# SPDX-License-Identifier: Apache-2.0
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

B      := build$(if $(DEBUG),/debug)# DEBUG=1: locks and their order are checked (shim/base/sync.h)
CFLAGS ?= -O2 -g
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
MANDIR ?= $(PREFIX)/share/man
PYTHON := /usr/bin/python3# the distribution's: a version manager's python may lack what apt installed
PYTEST  = PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m pytest -v $(if $(K),-k '$(K)') $(PYTEST_FLAGS)
Q      := $(if $(V),,@)
SUB     = +$(Q)$(MAKE) --no-print-directory $(if $(V),,-s)
say     = $(Q)mkdir -p $(@D)$(if $(V),,; printf '  %-6s %s\n' '$(1)' '$(2)')

# --- flags -------------------------------------------------------------------------------------

ARCH     := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine 2>/dev/null)))
UNWIND   := build/libunwind
MBEDTLS  := build/mbedtls
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes
WERROR   := $(if $(filter true,$(CI)),-Werror)
# Flags that only some compilers know: $(call known,FLAG...) is what $(CC) knows of them.
MAYBE    := -fno-builtin-bcmp -fno-tree-loop-distribute-patterns -mfunction-return=thunk-extern \
            -maccumulate-outgoing-args -Wstack-usage=1 -Wframe-larger-than=1 -Wno-tsan \
            -Wunknown-attributes -Wgnu-variable-sized-type-not-at-end
KNOWN    := $(shell for f in $(MAYBE); do \
                    $(CC) -Werror $$f -fsyntax-only -x c /dev/null 2>/dev/null && echo "$$f"; done)
known     = $(filter $(1),$(KNOWN))
# _GNU_SOURCE is defined as nothing, so that a file may say #define _GNU_SOURCE itself.
OUR_CPP  := -I. -I$(B) -I$(UNWIND)/include -isystem $(MBEDTLS)/include \
            -DMBEDTLS_CONFIG_FILE='"http/tls/mbedtls_config.h"' -D_GNU_SOURCE= $(if $(DEBUG),-DPPROF_DEBUG)
# -fno-plt: what hooks and the listener call of libc is bound when the library is loaded, never by the
# loader's lazy resolver inside a hook or in a thread that libc does not know. bcmp, which clang puts in memcmp's place,
# is not one of the functions of shim/base/mem.c.
OUR_C    := -std=gnu11 -fPIC -fno-plt -fvisibility=hidden -ftls-model=initial-exec \
            -fexceptions -fasynchronous-unwind-tables -ffunction-sections -fdata-sections \
            $(call known,-fno-builtin-bcmp) -ffile-prefix-map=$(CURDIR)=. $(WARN) $(WERROR)
COMPILE   = $(CC) $(OUR_CPP) $(CPPFLAGS) $(OUR_C) $(CFLAGS) $(CFLAGS_$(subst /,_,$*)) -MMD -MP
# A source's own flags: CFLAGS_<path without .c, / as _>.
CFLAGS_shim_base_mem := -fno-builtin $(call known,-fno-tree-loop-distribute-patterns)
# Hooks of system calls return by a jump (shim/hooks/wait.c says why). Not for programs with a shadow stack, hence
# unmarked.
RETURNS := $(if $(filter x86_64,$(ARCH)),$(call known,-mfunction-return=thunk-extern) -fcf-protection=none)
# Hooks that align their stack (shim/base/exports.h: ALIGNED) keep their return address and frame pointer in one place
# only so. (clang always does.)
REALIGN := $(call known,-maccumulate-outgoing-args)
$(foreach f,$(wildcard shim/hooks/*.c),$(eval CFLAGS_$(subst /,_,$(f:.c=)) := $(REALIGN)))
CFLAGS_shim_hooks_wait     += $(RETURNS)
CFLAGS_shim_hooks_sleep    += $(RETURNS)
CFLAGS_shim_hooks_syscall  += $(RETURNS)
# What runs in a thread that libc does not know must not look for the compiler's guard, which lies in libc's thread
# block.
CFLAGS_shim_waits_signals     := -fno-stack-protector
CFLAGS_shim_profiles_dump_ask := -fno-stack-protector
CFLAGS_shim_libc_libc_thread  := -fno-stack-protector
# The rest of a transfer is moved in the middle of a system call, which leaves all other registers alone. (The handler
# before it takes less stack so.)
CFLAGS_shim_waits_restart           := -mgeneral-regs-only
CFLAGS_shim_waits_restart_look      := -mgeneral-regs-only
CFLAGS_shim_waits_restart_transfers := -mgeneral-regs-only

# What runs on a program's stack, which may be small: hooks with all that they call, and our handler. The sum of
# it is measured (test/programs/painted_stack.c). Not with sanitizers (SAN), which take more.
ON_PROGRAMS_STACK := $(wildcard shim/hooks/*.c) $(addprefix shim/,$(addsuffix .c,base/sync libc/clock libc/libc_thread \
                     stack/bounds stack/code stack/here stack/own_stack stack/ring stack/rules stack/sample \
                     stack/stacks stack/step stack/unwind waits/calls waits/queues waits/restart \
                     waits/restart_look waits/restart_transfers waits/signals waits/waits \
                     profiles/delays profiles/heap profiles/live profiles/sampling profiles/trace_events))
LOW_STACK = $(if $(SAN),,$(patsubst %=1,%=416,$(firstword $(call known,-Wstack-usage=1 -Wframe-larger-than=1))))
$(foreach f,$(ON_PROGRAMS_STACK),$(eval CFLAGS_$(subst /,_,$(f:.c=)) += $$(LOW_STACK)))

# Static libraries, by full name. WRAP: the symbols that they reach as our __wrap_<symbol>, read off unwind_libc.c.
WRAP     := $(shell sed -n 's/^[A-Za-z_].*[ *]__wrap_\([A-Za-z0-9_]*\)(.*);$$/\1/p' shim/stack/unwind_libc.c \
                    2>/dev/null)
ARCHIVES := $(UNWIND)/lib/libunwind-$(ARCH).a $(UNWIND)/lib/libunwind.a $(MBEDTLS)/lib/libmbedtls.a -l:libz.a
LINK_SO   = $(CC) -shared -Wl,-soname,libpprofshim.so -Wl,-Bsymbolic -Wl,--exclude-libs,ALL \
            -Wl,--gc-sections -Wl,--as-needed -Wl,--build-id=sha1 -Wl,-z,relro -Wl,-z,defs -Wl,-z,initfirst \
            -Wl,--sort-section=name -Wl,-z,noseparate-code \
            -Wl,--version-script=$(B)/exports.map $(WRAP:%=-Wl,--wrap=%) -static-libgcc $(CFLAGS) $(LDFLAGS)

# --- the library -------------------------------------------------------------------------------

LIB  := $(B)/libpprofshim.so
SYMBOLIZE := $(B)/pprofshim-symbolize
COMMAND := $(B)/pprofshim
SRC  := $(sort $(filter-out $(addprefix encoder/,saved/% merge/% symbolize/% report/% command/%),$(wildcard \
        $(addsuffix /*.c,shim shim/* encoder encoder/* http http/*))))
PB   := $(patsubst %.proto,%.pb-c,$(wildcard encoder/*/*.proto))
OBJ  := $(SRC:%.c=$(B)/obj/%.o)
GENERATED := $(PB:%=$(B)/%.h) $(UNWIND)/stamp $(MBEDTLS)/stamp

all: $(LIB) $(SYMBOLIZE) $(COMMAND) ## build libpprofshim.so (and libpprofshim.debug.so) and both programs in build/

$(LIB): $(B)/libpprofshim.debug.so
	$(call say,STRIP,$@)
	$(Q)objcopy --strip-debug $< $@

$(B)/libpprofshim.debug.so: $(OBJ) $(B)/exports.map $(UNWIND)/stamp $(MBEDTLS)/stamp
	$(call say,LINK,$@)
	$(Q)$(LINK_SO) -o $@ $(OBJ) $(ARCHIVES)

# --- the helper program: static, so that it runs in any container -----------------------------------

SYMBOLIZE_SRC := $(sort $(wildcard $(addprefix encoder/,saved/*.c merge/*.c symbolize/*.c symbolize/*/*.c))) \
                 encoder/names/elf_symbols.c \
                 encoder/bytes/intern.c encoder/bytes/utf8.c \
                 shim/base/text.c shim/base/arena.c shim/base/pace.c
SYMBOLIZE_OBJ := $(SYMBOLIZE_SRC:%.c=$(B)/obj/%.o) $(PB:%=$(B)/obj/%.o)
SYMBOLIZE_LIB := -ldw -lelf -liberty -lprotobuf-c -llzma -lbz2 -lzstd -lz

$(SYMBOLIZE): $(SYMBOLIZE_OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) -static -Wl,--gc-sections $(CFLAGS) $(LDFLAGS) -s -o $@ $(SYMBOLIZE_OBJ) $(SYMBOLIZE_LIB)

# --- the command: static, too ---------------------------------------------------------------------

COMMAND_SRC := $(sort $(wildcard $(addprefix encoder/,saved/*.c merge/*.c report/*.c command/*.c))) \
               encoder/bytes/intern.c encoder/bytes/utf8.c \
               shim/base/text.c shim/base/arena.c shim/base/pace.c
CFLAGS_encoder_command_preload = -DLIBDIR='"$(LIBDIR)"'
COMMAND_OBJ := $(COMMAND_SRC:%.c=$(B)/obj/%.o) $(PB:%=$(B)/obj/%.o)

$(COMMAND): $(COMMAND_OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) -static -Wl,--gc-sections $(CFLAGS) $(LDFLAGS) -s -o $@ $(COMMAND_OBJ) -lprotobuf-c -lz -lm

# The version nodes, and which plain names are not exported as their versions are. Declarations with
# EXPORT say what else is exported.
$(B)/exports.map: shim/libc/versions.def Makefile
	$(call say,GEN,$@)
	$(Q){ echo 'PPROFSHIM { local: versioned_*; __start_*; __stop_*;'; \
	      [ $(ARCH) != x86_64 ] || sed -n 's/^VERSIONS*( *\([A-Za-z0-9_]*\).*/	\1;/p' $<; echo '};'; \
	      sed -n '/(PPROFSHIM)/d; s/^VERSION_NODE(\(.*\))$$/\1 { };/p' $<; } >$@

$(B)/encoder/%.pb-c.c $(B)/encoder/%.pb-c.h &: encoder/%.proto | $(B)/packages
	$(call say,PROTOC,$<)
	$(Q)protoc-c --proto_path=. --c_out=$(B) $<

$(UNWIND)/stamp: scripts/build-libunwind.sh | $(B)/packages
	$(call say,UNWIND,$(UNWIND))
	$(Q)CC="$(CC)" scripts/build-libunwind.sh $(UNWIND)

$(MBEDTLS)/stamp: scripts/build-mbedtls.sh http/tls/mbedtls_config.h | $(B)/packages
	$(call say,TLS,$(MBEDTLS))
	$(Q)CC="$(CC)" scripts/build-mbedtls.sh $(MBEDTLS)

$(B)/packages: scripts/deps.sh
	$(Q)mkdir -p $(@D)
	$(Q)scripts/deps.sh --check build
	$(Q)touch $@

$(B)/obj/%.o: %.c | $(GENERATED)
	$(call say,CC,$<)
	$(Q)$(COMPILE) -c -o $@ $<

# Generated code is not ours to warn about.
$(B)/obj/%.pb-c.o: $(B)/%.pb-c.c
	$(call say,CC,$<)
	$(Q)$(COMPILE) -w -c -o $@ $<

# --- unit tests: in folders as the sources are; each names its sources in lines /* links: shim/base/text.c ... */

SAN  :=# address,undefined or thread: the same tests in a folder of their own
comma := ,
U    := $(B)/unit$(if $(SAN),-$(subst $(comma),-,$(SAN)))
UNIT_SRC   := $(sort $(shell find test/unit -name 'test_*.c'))# in folders as the sources are; names are unique
UNIT_BINS  := $(patsubst %.c,$(U)/%,$(notdir $(UNIT_SRC)))
UNIT_SAN   := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer) \
              $(if $(filter thread,$(SAN)),$(call known,-Wno-tsan))

# clang has no word for noclone, and warns of samples with their addresses in a struct.
UNIT_C := $(patsubst -W%,-Wno-%,$(call known,-Wunknown-attributes -Wgnu-variable-sized-type-not-at-end))

links_of = $(shell sed -n 's,^[ /*]*links: *\(.*\),\1,p' $(1) | sed 's,\*/.*,,')
# What is named in test/unit/support names sources of its own.
unit_links = $(sort $(links) $(if $(filter test/%,$(links)),$(call links_of,$(filter test/%,$(links)))))

# What most of shim/ stands on, for tests that neither link it nor bring their own.
$(U)/base.a: $(addprefix $(U)/obj/shim/,base/pace.o base/peek.o base/house.o base/self.o base/random.o base/arena.o \
              base/cut.o base/proc.o)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

define unit_rule
$(U)/$(notdir $(1:.c=)): $(U)/obj/$(1:.c=.o) $(patsubst %.c,$(U)/obj/%.o,$(unit_links)) $(U)/base.a
	$$(call say,LINK,$$@)
	$$(Q)$$(CC) $(UNIT_SAN) $$(CFLAGS) $$(LDFLAGS) -pthread -Wl,--gc-sections -o $$@ $$^ \
		-lcmocka $(ARCHIVES) -l:libprotobuf-c.a
endef
$(foreach t,$(UNIT_SRC),$(eval links := $(call links_of,$(t)))$(eval $(call unit_rule,$(t))))

$(U)/obj/%.o: %.c | $(GENERATED)
	$(call say,CC,$<)
	$(Q)$(COMPILE) $(UNIT_C) $(UNIT_SAN) -DPPROF_UNIT -c -o $@ $<

$(U)/obj/%.o: $(B)/%.c
	$(call say,CC,$<)
	$(Q)$(COMPILE) $(UNIT_SAN) -w -c -o $@ $<

# --- fuzz targets: libFuzzer's, of clang; each names its sources and libraries in lines /* links: … */, /* libs: … */

SECONDS := 60
FUZZ_CC := clang# with its runtime: libclang-rt-14-dev of Debian 12
F       := $(B)/fuzz
FUZZ    := $(patsubst test/fuzz/fuzz_%.c,%,$(sort $(wildcard test/fuzz/fuzz_*.c)))
FUZZ_C   = -O1 -g -std=gnu11 -fno-omit-frame-pointer -ffile-prefix-map=$(CURDIR)=. \
           -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all $(WARN) $(WERROR)
libs_of  = $(shell sed -n 's,^[ /*]*libs: *\(.*\),\1,p' $(1) | sed 's,\*/.*,,')

define fuzz_rule
$(F)/$(1): $(F)/obj/test/fuzz/fuzz_$(1).o $(patsubst %.c,$(F)/obj/%.o,$(call links_of,test/fuzz/fuzz_$(1).c))
	$$(call say,LINK,$$@)
	$$(Q)$(FUZZ_CC) -fsanitize=fuzzer,address,undefined $$(LDFLAGS) -o $$@ $$^ $(call libs_of,test/fuzz/fuzz_$(1).c)
endef
$(foreach t,$(FUZZ),$(eval $(call fuzz_rule,$(t))))

$(F)/obj/%.o: %.c | $(GENERATED)
	$(call say,CC,$<)
	$(Q)$(FUZZ_CC) $(OUR_CPP) $(CPPFLAGS) $(FUZZ_C) -MMD -MP -c -o $@ $<

$(F)/obj/%.o: $(B)/%.c
	$(call say,CC,$<)
	$(Q)$(FUZZ_CC) $(OUR_CPP) $(CPPFLAGS) $(FUZZ_C) -w -MMD -MP -c -o $@ $<

$(F)/corpus/made/stamp: test/fuzz/corpus.sh
	$(call say,CORPUS,$(@D))
	$(Q)test/fuzz/corpus.sh $(F)/corpus
	$(Q)touch $@

# --- test programs: lib*.c become libraries ----------------------------------------------------------

PROGRAM_SRC := $(sort $(wildcard test/programs/*.c test/programs/*.cc))
PROGRAMS    := $(patsubst test/programs/%,$(B)/programs/%,$(patsubst test/programs/lib%.c,test/programs/lib%.so, \
               $(PROGRAM_SRC:%.cc=%)))
PROGRAMS    := $(PROGRAMS:%.c=%)
flags_of     = $(shell sed -n 's,^[ /*]*flags: *\(.*\),\1,p' $(1) | sed 's,\*/.*,,')
PROGRAM_C    = -O1 -g -pthread -Wall -MMD -MP -MF $@.d -MT $@

programs: $(PROGRAMS)

$(B)/programs/lib%.so: test/programs/lib%.c
	$(call say,CC,$@)
	$(Q)$(CC) $(PROGRAM_C) -fPIC -shared -o $@ $< -ldl -lm

$(B)/programs/%: test/programs/%.c
	$(call say,CC,$@)
	$(Q)$(CC) $(PROGRAM_C) -rdynamic $(call flags_of,$<) -o $@ $< -ldl -lm

$(B)/programs/%: test/programs/%.cc
	$(call say,CXX,$@)
	$(Q)$(CXX) $(PROGRAM_C) -rdynamic -o $@ $< -ldl -lm

# --- what people call ----------------------------------------------------------------------------

run: ## install what is missing, build, show the profiles of a demo; CMD="program args" runs that instead
	$(Q)scripts/deps.sh build run
	$(SUB) all $(B)/programs/demo
	$(Q)scripts/run.sh $(if $(CMD),'$(subst ','\'',$(CMD))')

test: ## install what is missing, lint and run every test; ends with "N passed, N failed"; K=WORD: those alone
	$(Q)scripts/deps.sh build run test lint
	$(SUB) all programs unit-build fuzz-build
	$(Q)$(PYTEST)

unit: unit-build ## run the unit tests; K=WORD: those whose name contains it
	$(Q)$(PYTEST) test/unit

e2e: all programs ## run the end-to-end tests; K=WORD: those whose name contains it
	$(Q)$(PYTEST) test/e2e

readers: ## build what reads a dump with gostackparse and panicparse (Go, and its modules): e2e tests use it then
	$(Q)mkdir -p $(B)
	cd test/readers && go build -o $(abspath $(B))/readers .

bench: ## install what is missing and compare with bare runs and a pass-through library
	$(Q)scripts/deps.sh build bench
	$(SUB) all programs
	$(Q)$(PYTHON) test/bench/run.py
	$(Q)$(PYTHON) test/bench/whole.py
	$(Q)$(PYTHON) test/bench/door.py

bench-idle: all ## count the instructions that each hook adds while nobody asks for anything
	$(Q)$(PYTHON) test/bench/idle.py --all

soak: MINUTES := 30
soak: all programs ## libraries, forks, threads, profiles and dumps, all at once for MINUTES=30
	$(Q)$(PYTHON) test/e2e/soak.py --minutes $(MINUTES)

torture: MINUTES := 10
torture: all programs ## signals, forks and requests at any instruction of any hook for MINUTES=10
	$(Q)$(PYTHON) test/torture/run.py --minutes $(MINUTES)

asan: ## run the unit tests under AddressSanitizer and UBSan
ubsan: ## run the unit tests under UndefinedBehaviorSanitizer
tsan: ## run the unit tests under ThreadSanitizer
asan:  SANITIZERS := address,undefined
ubsan: SANITIZERS := undefined
tsan:  SANITIZERS := thread
asan ubsan tsan:
	$(SUB) unit-build SAN=$(SANITIZERS)
	$(Q)UNIT_DIR=$(B)/unit-$(subst $(comma),-,$(SANITIZERS)) $(PYTEST) test/unit

fuzz: ## install what is missing and run each fuzz target for SECONDS=60; what breaks one is kept as build/fuzz/TARGET-…
	$(Q)scripts/deps.sh build fuzz
	$(SUB) fuzz-build
	$(Q)for t in $(FUZZ); do \
		echo "  FUZZ   $$t"; \
		$(F)/$$t -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 \
			-artifact_prefix=$(F)/$$t- $(F)/corpus/$$t >$(F)/$$t.log 2>&1 \
			|| { tail -40 $(F)/$$t.log; exit 1; }; \
		sed -n 's/^stat::number_of_executed_units: */         executions: /p' $(F)/$$t.log; \
	done

build-debian13: ## build it in a Debian 13, which is made in build/debian13, by each gcc there, and try it; as root
	$(Q)scripts/deps.sh debian13
	$(Q)scripts/debian13.sh $(B)/debian13

fuzz-build: $(FUZZ:%=$(F)/%) $(F)/corpus/made/stamp

unit-build: $(UNIT_BINS)

format: ## format the C sources in place
	$(Q)clang-format -i $$(git ls-files "*.c" "*.h")

# What is excepted from each check, and why: .clang-format, .codespellrc, .cppcheck, .flake8.
C_FILES      = $(shell find shim encoder http test -name '*.[ch]')
SHELL_FILES  = $(shell grep -rlE '^\#!.*/(ba)?sh$$' scripts test .ci)
PYTHON_FILES = $(shell find test -name '*.py') $(shell grep -rl '^\#!.*python3$$' scripts)
MANUALS      = $(wildcard man/*.[17])
MD_FILES     = $(shell find . -path ./build -prune -o -name '*.md' -print)
CHECKED_C    = $(shell find shim encoder http -name '*.c')
LINTS       := lint-layers lint-hooks lint-format lint-columns lint-shared \
               lint-shell lint-manuals lint-spelling lint-c lint-python

lint: all ## check layers, the code of the hooks, C, scripts, Python, spelling, widths and the man pages
	$(Q)scripts/deps.sh --check lint
	+$(Q)$(MAKE) --no-print-directory -k $(if $(filter -j%,$(MAKEFLAGS)),,-j2) $(LINTS)

lint-layers:
	$(Q)BUILD=$(B) scripts/check-layers

lint-hooks:
	$(Q)BUILD=$(B) scripts/check-hooks

lint-format:
	$(Q)clang-format --dry-run -Werror $(C_FILES)

lint-columns:
	$(Q)scripts/check-columns $(C_FILES) $(SHELL_FILES) Makefile \
		$(MD_FILES) $$(find shim http encoder test -name '*.def')

lint-shared:
	$(Q)scripts/check-shared $(C_FILES)

lint-shell:
	$(Q)shellcheck $(SHELL_FILES)

lint-manuals:
	$(Q)mandoc -Tlint -W warning $(MANUALS)

lint-spelling:
	$(Q)codespell $(C_FILES) $(SHELL_FILES) $(PYTHON_FILES) $(MANUALS) $(MD_FILES) Makefile

# Files that have not changed since are not looked at again.
lint-c:
	$(Q)mkdir -p $(B)/cppcheck
	$(Q)cppcheck -q -j2 --error-exitcode=1 --cppcheck-build-dir=$(B)/cppcheck \
		--enable=warning,performance,portability \
		--suppressions-list=.cppcheck --std=c11 --library=posix,gnu --max-configs=1 \
		-I. -D_GNU_SOURCE= -D__x86_64__ '-DElfW(x)=Elf64_\#\#x' $(CHECKED_C)

lint-python:
	$(Q)flake8 $(PYTHON_FILES)

install: all ## install the library, its programs and its man pages below DESTDIR/PREFIX
	install -D -m 755 $(LIB) $(DESTDIR)$(LIBDIR)/libpprofshim.so
	install -D -m 755 $(SYMBOLIZE) $(DESTDIR)$(LIBDIR)/pprofshim-symbolize
	install -d $(DESTDIR)$(BINDIR)
	ln -sf $(LIBDIR)/pprofshim-symbolize $(DESTDIR)$(BINDIR)/pprofshim-symbolize
	install -D -m 755 $(COMMAND) $(DESTDIR)$(BINDIR)/pprofshim
	install -D -m 644 man/pprofshim.7 $(DESTDIR)$(MANDIR)/man7/pprofshim.7
	install -D -m 644 man/pprofshim-symbolize.1 $(DESTDIR)$(MANDIR)/man1/pprofshim-symbolize.1
	install -D -m 644 man/pprofshim.1 $(DESTDIR)$(MANDIR)/man1/pprofshim.1

uninstall: ## remove what install put there
	rm -f $(DESTDIR)$(LIBDIR)/libpprofshim.so $(DESTDIR)$(LIBDIR)/pprofshim-symbolize \
	      $(DESTDIR)$(BINDIR)/pprofshim-symbolize $(DESTDIR)$(BINDIR)/pprofshim \
	      $(DESTDIR)$(MANDIR)/man7/pprofshim.7 $(DESTDIR)$(MANDIR)/man1/pprofshim-symbolize.1 \
	      $(DESTDIR)$(MANDIR)/man1/pprofshim.1

dist: ## write the committed sources to build/pprofshim.tar.gz
	$(Q)mkdir -p $(B)
	git archive --prefix=pprofshim/ HEAD | gzip -9n >$(B)/pprofshim.tar.gz

clean: ## remove what was built; only build/libunwind and build/mbedtls stay, as they need the network
	rm -rf $(filter-out $(UNWIND) $(MBEDTLS),$(wildcard $(B)/*))

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1	/p' Makefile | awk -F '\t' '{ printf "%-10s %s\n", $$1, $$2 }'

.PHONY: all programs run test unit unit-build e2e readers bench bench-idle soak torture asan ubsan tsan fuzz \
        fuzz-build build-debian13 format lint $(LINTS) install uninstall dist clean help
.SECONDARY:

-include $(OBJ:.o=.d) $(SYMBOLIZE_OBJ:.o=.d) $(COMMAND_OBJ:.o=.d) \
         $(wildcard $(foreach o,$(U)/obj $(F)/obj,$o/*/*.d $o/*/*/*.d $o/*/*/*/*.d $o/*/*/*/*/*.d) \
         $(B)/programs/*.d)
