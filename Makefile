# Every target sets up what it needs by itself; everything it makes is under build/.
BUILD := build
VENV := $(BUILD)/venv
PY := $(VENV)/bin/python
MPY := $(BUILD)/bin/micropython
SCENARIO ?= default
SIGNAL ?=
SEED ?=
CLOCK ?=
HOURS ?=
OUT ?=
ONLY ?=
AGC ?=

.PHONY: fmea help hil test check portable bench lint types clean setup coverage mutation

help: ## say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

$(VENV)/.made: pyproject.toml tools/make_venv.sh
	tools/make_venv.sh $(VENV) $(BUILD)
	@touch $@

$(MPY): tools/get_micropython.sh
	tools/get_micropython.sh $(BUILD)
	@touch -h $@

setup: $(VENV)/.made $(MPY) ## virtual environment and MicroPython, nothing else

hil: setup ## run the bench: SCENARIO SIGNAL SEED CLOCK HOURS OUT
	@$(PY) -m host_tools.cli.main hil run '$(SCENARIO)' $(if $(SIGNAL),--signal '$(SIGNAL)') \
		$(if $(SEED),--seed '$(SEED)') $(if $(CLOCK),--clock '$(CLOCK)') \
		$(if $(HOURS),--hours '$(HOURS)') $(if $(OUT),--out '$(OUT)')

portable: setup ## the portable tests on MicroPython alone
	@$(PY) tools/run_portable.py --micropython $(MPY)

test: setup check ## everything: rules, both interpreters, host, bench
	@$(PY) -m pytest tests/portable tests/host tests/hil -n 2
	@$(PY) tools/run_portable.py --micropython $(MPY)

lint: setup ## ruff
	@$(VENV)/bin/ruff check .

types: setup ## mypy
	@$(VENV)/bin/mypy

check: lint types ## lint, types and the rules tests
	@$(PY) -m pytest tests/rules

coverage: setup ## branch coverage of the firmware; what decides must have all of it (40 s)
	@$(PY) tools/coverage_gate.py

mutation: setup ## mutants of limits, interlock, usage, windows: ONLY=module; every survivor explained
	@$(PY) tools/mutate.py $(ONLY)

fmea: setup ## every single fault on the bench, and docs/fmea.md from it
	@$(PY) tools/make_fmea.py

bench: setup ## every benchmark, or those matching ONLY=pattern; AGC=file.csv for real days
	@$(PY) tools/bench.py $(if $(ONLY),--only '$(ONLY)') $(if $(AGC),--agc '$(AGC)')

clean: ## remove everything that was built
	rm -rf $(BUILD)
