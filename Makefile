# superd: make help says what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# The interpreter of the development environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS := build/docs

# Where `make install` puts things, and the interpreter that runs them there.
DESTDIR ?=
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
INSTALL_PYTHON ?= /usr/bin/python3

PACKAGES := client/superd_client daemon/superd examples/inventoryd examples/romd
SHELL_SCRIPTS := $(wildcard .ci/run tools/*.sh tests/system/*.sh examples/*.sh packaging/*.sh $(addprefix packaging/deb/tests/,common.sh install remove states upgrade))
# Twice quiet: errors alone.
PIP := pip -qq --disable-pip-version-check --no-input
PYTEST_FLAGS ?=
# Processes that share the tests: one more than there are processors, since many tests wait for a process or for time,
# and few enough that their own start does not matter. 0: one test after the other, in pytest's own process.
TEST_WORKERS ?= $(shell nproc | awk '{ print ($$1 < 8 ? $$1 : 7) + 1 }')
# File by file, in the order that tests/conftest.py says.
PARALLEL = -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=$(PYTHON)  DESTDIR=$(DESTDIR)  PREFIX=$(PREFIX)  SYSCONFDIR=$(SYSCONFDIR)  INSTALL_PYTHON=$(INSTALL_PYTHON)"
	@echo "  TEST_WORKERS=$(TEST_WORKERS)  PYTEST_FLAGS=$(PYTEST_FLAGS)"

# --- the development environment ------------------------------------------------------------------------------------

.PHONY: setup
setup: $(READY) ## What everything else needs: Debian packages, and .venv

$(READY): constraints.txt requirements/build.txt requirements/test.txt requirements/dev.txt $(wildcard */pyproject.toml) tools/system-packages.sh
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed; name another with PYTHON=" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "superd needs Python 3.11 or later, and $(PYTHON) is `$(PYTHON) -V`; name another with PYTHON=" >&2; exit 1; }
	@tools/system-packages.sh
	@echo "Making $(VENV) with `$(PYTHON) -V`"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/$(PIP) install -c constraints.txt -r requirements/build.txt
	@$(BIN)/$(PIP) install -c constraints.txt -r requirements/test.txt -r requirements/dev.txt --no-build-isolation \
	  -e client -e daemon -e examples
	@touch $@

# --- use it ---------------------------------------------------------------------------------------------------------

.PHONY: run
run: $(READY) ## One daemon asks another: superd, inventoryd and romd for a few real calls
	@$(BIN)/python examples/demo.py

# --- prove it -------------------------------------------------------------------------------------------------------

.PHONY: test
test: $(READY) $(DOCS)/venv/.ready ## All tests, in parallel, those under a real systemd too (as root); enforces the coverage
	@$(BIN)/pytest $(PARALLEL) --cov --cov-report= --coverage-gate $(PYTEST_FLAGS)

.PHONY: coverage
coverage: $(READY) $(DOCS)/venv/.ready ## As test, and htmlcov/ shows each line
	@$(BIN)/pytest $(PARALLEL) --cov --cov-report=html --coverage-gate $(PYTEST_FLAGS)

# MATRIX="3.11/oldest 3.13/newest": these cells. MATRIX_PYTHONS=: interpreters that are neither on PATH nor of pyenv.
MATRIX ?=
MATRIX_FLAGS ?=

.PHONY: test-matrix
test-matrix: dist ## The tests against the wheels: Python 3.11 to 3.13, each with the oldest and newest versions
	@$(BIN)/python -m tests.matrix --workers $(TEST_WORKERS) $(MATRIX_FLAGS) $(MATRIX)

# The server that is judged, and what tests/conformance takes beside it.
ADDRESS ?= unix:/run/superd/superd.sock
CONFORMANCE_FLAGS ?=

.PHONY: conformance
conformance: $(READY) ## Judges the server at ADDRESS=unix:/path by the protocol, clause by clause
	@$(BIN)/python -m tests.conformance $(CONFORMANCE_FLAGS) '$(ADDRESS)'

.PHONY: fuzz
fuzz: $(READY) ## A bounded run of the wire's fuzzer
	@$(BIN)/python -m tests.fuzz

# LONG=1: 1,000 restarts and an hour of load. CHAOS_FLAGS: --seed N, --only ROW, --scale ci.
LONG ?=
CHAOS_FLAGS ?=

.PHONY: chaos
chaos: $(READY) ## Restarts, kills, hostile peers and faults under a real systemd (as root), with figures; LONG=1: in full
	@$(BIN)/python -m tests.chaos --scale $(if $(LONG),full,short) $(CHAOS_FLAGS)

# make bench QUICK=1: one small round; PUBLISH=1: the run goes into docs/explanation/performance.md.
BENCH := build/bench
BENCH_PYTHON := $(BENCH)/venv/bin/python
BENCH_ROOT := $(CURDIR)/$(BENCH)/root
BENCH_FLAGS ?=

.PHONY: bench
bench: $(BENCH)/superd.ready ## superd and its peers, measured side by side; QUICK=1 for a look of three minutes
	@$(BENCH_PYTHON) -m tests.bench $(if $(QUICK),--quick) $(if $(PUBLISH),--publish) $(BENCH_FLAGS)
	@$(if $(QUICK)$(BENCH_FLAGS),,$(BENCH_PYTHON) -m tests.bench.imports)

# The peers, in an environment of their own on the interpreter of `make install`: the distribution's runs Python code much faster than
# one that was built without its optimizations. dbus-broker is unpacked and not installed: it would become the system's bus.
$(BENCH)/venv/.ready: constraints.txt requirements/bench.txt requirements/build.txt tests/bench/systems/inventory.proto
	@tools/system-packages.sh
	@rm -rf $(BENCH)/venv $(BENCH)/generated $(BENCH)/debian
	@$(INSTALL_PYTHON) -m venv $(BENCH)/venv
	@$(BENCH)/venv/bin/$(PIP) install -c constraints.txt -r requirements/build.txt -r requirements/bench.txt || \
	  { echo "The peers of superd cannot be installed (see above): make bench needs a package registry that it can reach." >&2; \
	    exit 1; }
	@install -d $(BENCH)/generated $(BENCH)/debian
	@$(BENCH_PYTHON) -m grpc_tools.protoc -I tests/bench/systems --python_out=$(BENCH)/generated \
	  --grpc_python_out=$(BENCH)/generated tests/bench/systems/inventory.proto
	@cd $(BENCH)/debian && { apt-get -qq download dbus-broker 2>/dev/null && dpkg-deb --extract dbus-broker_*.deb . || \
	  echo "dbus-broker cannot be had here: its cells stay empty"; }
	@touch $@

# superd as `make install` leaves it, on the interpreter of its peers' environment; its client as pip installs it for a user.
$(BENCH)/superd.ready: $(BENCH)/venv/.ready Makefile packaging/program.in $(shell find client daemon systemd -name __pycache__ -prune -o -type f -print)
	@$(MAKE) --no-print-directory install PREFIX='$(BENCH_ROOT)' SYSCONFDIR='$(BENCH_ROOT)/etc' DESTDIR= \
	  INSTALL_PYTHON="$$($(BENCH_PYTHON) -c 'import sys; print(sys._base_executable)')" >/dev/null
	@install -d '$(BENCH_ROOT)/lib/superd-services'
	@ln -sfn '$(CURDIR)/tests' '$(BENCH_ROOT)/lib/superd-services/tests'
	@$(BENCH)/venv/bin/$(PIP) install -c constraints.txt --no-build-isolation --force-reinstall --no-deps ./client ./daemon
	@$(BENCH)/venv/bin/$(PIP) install -c constraints.txt --no-build-isolation ./client ./daemon
	@touch $@

.PHONY: typing
typing: $(READY) ## What mypy and pyright make of the public interface
	@$(BIN)/pytest tests/typing $(PYTEST_FLAGS)

.PHONY: lint lint-code lint-types lint-imports lint-units lint-shell
lint: lint-code lint-types lint-imports lint-units lint-shell ## ruff, mypy, import contracts, units, shell scripts

lint-code: $(READY)
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --quiet --check || { echo "not formatted; make format does it" >&2; exit 1; }

lint-types: $(READY)
	@$(BIN)/mypy

lint-imports: $(READY)
	@$(BIN)/lint-imports --no-logo

lint-units:
	@tools/lint-units.sh

lint-shell:
	@for script in $(SHELL_SCRIPTS); do bash -n $$script; done
	@! command -v shellcheck >/dev/null || shellcheck -x $(SHELL_SCRIPTS)

.PHONY: format
format: $(READY) ## Formats the code, and mends what ruff can mend
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format --quiet

$(DOCS)/venv/.ready: constraints.txt requirements/docs.txt
	@$(PYTHON) -m venv --clear $(DOCS)/venv
	@$(DOCS)/venv/bin/$(PIP) install -c constraints.txt -r requirements/docs.txt
	@touch $@

.PHONY: docs man
docs: man ## HTML and man pages, in build/docs; a link that leads nowhere is an error
	@# Anew: each page has the titles of all others in it.
	@rm -rf $(DOCS)/html
	@$(DOCS)/venv/bin/sphinx-build -q -W --keep-going -b html docs $(DOCS)/html
	@$(DOCS)/venv/bin/python -m tests.site $(DOCS)/html

man: $(DOCS)/venv/.ready ## The man pages alone, in build/docs/man
	@$(DOCS)/venv/bin/sphinx-build -q -W --keep-going -b man docs $(DOCS)/man

# --- publish it -----------------------------------------------------------------------------------------------------

.PHONY: dist
dist: $(READY) ## Wheels and sdists of superd-client and superd, in dist; the same bytes each time
	@tools/dist.sh $(BIN)/python dist build/private
	@ls dist/*

# --- package it ---------------------------------------------------------------------------------------------------

RELEASES ?= bookworm trixie
# DEB_VERSION=0.0.9: packages that call themselves that, in build/deb/RELEASE-0.0.9, to upgrade from. ROOTS=: where clean roots of the releases are.
export DEB_VERSION ROOTS

.PHONY: deb lint-deb reproduce-deb
deb: $(READY) ## Debian packages of each release, built in a clean root of it (as root), in build/deb; RELEASES=, DEB_VERSION=
	@for release in $(RELEASES); do PIP='$(BIN)/pip' packaging/deb.sh build $$release; done
	@ls build/deb/*/*.deb

lint-deb: ## What lintian of each release says about the packages of make deb
	@for release in $(RELEASES); do packaging/deb.sh lint $$release; done

reproduce-deb: $(READY) ## Builds the packages of make deb again, elsewhere, and compares the bytes
	@for release in $(RELEASES); do PIP='$(BIN)/pip' packaging/deb.sh reproduce $$release; done

# The folder that has packages of each release, and which of packaging/deb/tests: install, upgrade, remove, states.
DEBS ?= build/deb
AUTOPKGTESTS ?=

.PHONY: autopkgtest
autopkgtest: ## Installs, upgrades, breaks and removes the packages of make deb in booted guests of each release (as root)
	@for release in $(RELEASES); do packaging/autopkgtest.sh $$release $(DEBS)/$$release $(AUTOPKGTESTS); done

# --- install it -----------------------------------------------------------------------------------------------------

BUILD := build/install-$(notdir $(INSTALL_PYTHON))
BUILD_PIP := $(BUILD)/venv/bin/$(PIP)
LIB := $(PREFIX)/lib/superd
# The packages of services that superd hosts, out of reach of the next `make install`.
SERVICES := $(PREFIX)/lib/superd-services
DOC := $(PREFIX)/share/doc/superd
MAN := $(PREFIX)/share/man
UNITS := $(PREFIX)/lib/systemd/system
USER_UNITS := $(PREFIX)/lib/systemd/user

# Units name programs in /usr; what they name is what was installed.
UNIT_SED := -e 's|/usr/bin/|$(PREFIX)/bin/|g' -e 's|/usr/share/doc/|$(PREFIX)/share/doc/|g' \
	$(if $(filter /usr /usr/%,$(PREFIX)),,-e 's|^ExecPaths=/usr$$|ExecPaths=/usr $(PREFIX)|')

# $(call wrapper,PROGRAM,MODULE,OPTIONS): -I keeps the caller's environment and directory out of a program of the system.
define wrapper
	install -d '$(DESTDIR)$(PREFIX)/bin'
	sed -e 's|@PYTHON@|$(INSTALL_PYTHON) -I$(3)|' -e 's|@PATHS@|"$(LIB)", "$(SERVICES)"|' -e 's|@MODULE@|$(2)|' \
	  -e 's|@PROGRAM@|$(1)|' -e 's|@MEND@|make install, once more|' packaging/program.in >'$(DESTDIR)$(PREFIX)/bin/$(1)'
	chmod 0755 '$(DESTDIR)$(PREFIX)/bin/$(1)'
endef

# $(call units,DIRECTORY,SOURCES)
define units
	install -d '$(DESTDIR)$(1)'
	for unit in $(2); do \
	  sed $(UNIT_SED) $$unit >'$(DESTDIR)$(1)'/$${unit##*/}; chmod 0644 '$(DESTDIR)$(1)'/$${unit##*/}; done
endef

# $(call library,BUILT,DIRECTORY): compiled here, since superd may not write there.
define library
	install -d '$(DESTDIR)$(2)'
	cp -R $(1)/. '$(DESTDIR)$(2)'
	$(INSTALL_PYTHON) -m compileall -q $(if $(DESTDIR),-s '$(DESTDIR)' -p /) '$(DESTDIR)$(2)'
endef

# $(call configuration,SOURCE,NAME): a file that is there is the operator's.
define configuration
	install -d '$(DESTDIR)$(SYSCONFDIR)/superd/'{superd.d,policy.d,instances}
	if [ -e '$(DESTDIR)$(SYSCONFDIR)/superd/$(2)' ]; then echo 'kept: $(DESTDIR)$(SYSCONFDIR)/superd/$(2)'; \
	else install -m 0644 $(1) '$(DESTDIR)$(SYSCONFDIR)/superd/$(2)'; fi
endef

$(BUILD)/venv/.ready: constraints.txt requirements/build.txt Makefile
	@command -v $(INSTALL_PYTHON) >/dev/null || { echo "$(INSTALL_PYTHON) is not there; see INSTALL_PYTHON=" >&2; exit 1; }
	@tools/system-packages.sh
	@rm -rf $(BUILD)/venv
	@$(INSTALL_PYTHON) -m venv $(BUILD)/venv
	@$(BUILD_PIP) install -c constraints.txt -r requirements/build.txt
	@touch $@

# $(call built,DIRECTORY,REQUIREMENTS): what pip installs, without programs, bytecode, parts that nothing runs, and the
# place where it was built.
define built
	rm -rf $(1)
	$(BUILD_PIP) install -c constraints.txt --no-build-isolation --no-compile --target $(1) $(2)
	rm -rf $(1)/bin $(1)/*.dist-info/direct_url.json
	find $(1) -depth -type d \( -name __pycache__ -o -name tests -o -name test \) -exec rm -rf {} +
endef

$(BUILD)/superd.built: $(BUILD)/venv/.ready $(shell find client daemon -name __pycache__ -prune -o -type f -print)
	@$(call built,$(BUILD)/superd,./client ./daemon)
	@touch $@

$(BUILD)/examples.built: $(BUILD)/venv/.ready $(shell find examples -name __pycache__ -prune -o -type f -print)
	@$(call built,$(BUILD)/examples,--no-deps ./examples)
	@touch $@

# Out of the parsers of what is installed.
COMPLETIONS := build/completions

$(COMPLETIONS)/.ready: $(BUILD)/superd.built $(wildcard tools/completions/*)
	@PYTHONPATH=$(BUILD)/superd $(INSTALL_PYTHON) -B tools/completions $(COMPLETIONS)
	@touch $@

.PHONY: completions
completions: $(COMPLETIONS)/.ready ## What completes superctl and superd in bash, zsh and fish, in build/completions

.PHONY: install
install: $(BUILD)/superd.built completions ## Installs superd and superctl under DESTDIR and PREFIX
	@rm -rf '$(DESTDIR)$(LIB)'
	@$(call library,$(BUILD)/superd,$(LIB))
	@# -u: what a service prints is in the journal at once, not when superd ends.
	@$(call wrapper,superd,superd.__main__,u)
	@$(call wrapper,superctl,superd.ctl.__main__)
	@$(call units,$(UNITS),$(wildcard systemd/*.socket systemd/*.service))
	@$(call units,$(USER_UNITS),$(wildcard systemd/user/*.socket systemd/user/*.service))
	@install -D -m 0644 systemd/superd.sysusers.conf '$(DESTDIR)$(PREFIX)/lib/sysusers.d/superd.conf'
	@install -D -m 0644 systemd/superd.tmpfiles.conf '$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/superd.conf'
	@install -d '$(DESTDIR)$(PREFIX)/lib/systemd/catalog'
	@sed $(UNIT_SED) systemd/superd.catalog >'$(DESTDIR)$(PREFIX)/lib/systemd/catalog/superd.catalog'
	@chmod 0644 '$(DESTDIR)$(PREFIX)/lib/systemd/catalog/superd.catalog'
	@$(call configuration,systemd/superd.toml,superd.toml)
	@$(call configuration,systemd/policy.d.README,policy.d/README)
	@rm -rf '$(DESTDIR)$(DOC)'
	@for page in *.md LICENSE docs/*/*.md docs/*/*.png; do install -D -m 0644 $$page '$(DESTDIR)$(DOC)'/$$page; done
	@for page in $(wildcard $(DOCS)/man/*.[1-8]); do \
	  install -D -m 0644 $$page '$(DESTDIR)$(MAN)'/man$${page##*.}/$${page##*/}; done
	@for program in superctl superd; do \
	  install -D -m 0644 $(COMPLETIONS)/$$program.bash '$(DESTDIR)$(PREFIX)/share/bash-completion/completions'/$$program; \
	  install -D -m 0644 $(COMPLETIONS)/_$$program '$(DESTDIR)$(PREFIX)/share/zsh/site-functions'/_$$program; \
	  install -D -m 0644 $(COMPLETIONS)/$$program.fish '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d'/$$program.fish; done
	@$(if $(DESTDIR),,printf '%s\n' 'Installed. Next, as root:' '    systemd-sysusers' '    systemd-tmpfiles --create superd.conf' \
	  '    journalctl --update-catalog' '    systemctl daemon-reload' '    systemctl enable --now superd.socket' \
	  '    systemctl try-restart superd.service    # where it runs already')

.PHONY: install-examples
install-examples: $(BUILD)/examples.built ## Installs inventoryd into superd, and romd with its unit
	@rm -rf '$(DESTDIR)$(SERVICES)/'{inventoryd,romd,superd_examples-*.dist-info}
	@$(call library,$(BUILD)/examples,$(SERVICES))
	@$(call wrapper,romd,romd.__main__)
	@$(call units,$(UNITS),examples/romd/systemd/romd.service)
	@install -D -m 0644 examples/romd/systemd/romd.sysusers.conf '$(DESTDIR)$(PREFIX)/lib/sysusers.d/romd.conf'
	@$(call configuration,examples/inventoryd/50-inventory.toml,superd.d/50-inventory.toml)
	@$(if $(DESTDIR),,printf '%s\n' 'Installed. Next, as root:' '    systemd-sysusers' '    systemctl daemon-reload' \
	  '    systemctl try-restart superd.service' '    systemctl enable --now romd.service')

# Links to units that are gone, and daemons whose files are gone, are a nuisance to get rid of.
define unused
	used=(); \
	enabled=`systemctl list-unit-files --plain --no-legend --state=enabled 'superd@*.socket' 2>/dev/null | cut -d ' ' -f 1 || true`; \
	for unit in superd.socket romd.service $$enabled; do \
	  if systemctl --quiet is-enabled $$unit 2>/dev/null; then used+=("$$unit"); fi; done; \
	active=`systemctl list-units --plain --no-legend --state=active 'superd@*' 2>/dev/null | cut -d ' ' -f 1 || true`; \
	for unit in superd.socket superd.service romd.service $$active; do \
	  if [[ " $${used[*]} " != *" $$unit "* ]] && systemctl --quiet is-active $$unit 2>/dev/null; then used+=("$$unit"); fi; done; \
	[ $${#used[@]} -eq 0 ] || { printf '%s\n' 'Still in use. First, as root:' "    systemctl disable --now $${used[*]}" >&2; exit 1; }
endef

.PHONY: uninstall
uninstall: ## Removes what install and install-examples put there; keeps configuration and data
	@$(if $(DESTDIR),,$(unused))
	@rm -rf '$(DESTDIR)$(LIB)' '$(DESTDIR)$(DOC)' '$(DESTDIR)$(SERVICES)/'{inventoryd,romd,superd_examples-*.dist-info}
	@rmdir --ignore-fail-on-non-empty '$(DESTDIR)$(SERVICES)' 2>/dev/null || true
	@rm -f '$(DESTDIR)$(PREFIX)/bin/'{superd,superctl,romd} '$(DESTDIR)$(UNITS)/romd.service' \
	  '$(DESTDIR)$(UNITS)/'{superd,superd@}.{socket,service} '$(DESTDIR)$(USER_UNITS)/'{superd,superd@}.{socket,service} \
	  '$(DESTDIR)$(PREFIX)/lib/sysusers.d/'{superd,romd}.conf '$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/superd.conf' \
	  '$(DESTDIR)$(PREFIX)/lib/systemd/catalog/superd.catalog' \
	  '$(DESTDIR)$(MAN)/'{man1/superctl.1,man3/superd_client.3,man8/superd.8,man5/superd.toml.5,man5/superd-policy.5} \
	  '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/'{superctl,superd} \
	  '$(DESTDIR)$(PREFIX)/share/zsh/site-functions/'{_superctl,_superd} \
	  '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/'{superctl,superd}.fish
	@$(if $(DESTDIR),,printf '%s\n' 'Removed. $(SYSCONFDIR)/superd, /var/lib/superd and the users superd and romd are kept.' \
	  'Next, as root:' '    systemctl daemon-reload' '    journalctl --update-catalog')

.PHONY: clean
clean: ## Removes everything that make made here
	@rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
