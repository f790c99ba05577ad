# Every target sets up what it needs by itself; everything it makes is under build/.
BUILD := build
VENV := $(BUILD)/venv
PY := $(VENV)/bin/python
MPY := $(BUILD)/bin/micropython
RP2040 := $(BUILD)/rp2040/firmware.uf2
SERVICES := $(BUILD)/services/env
BROWSER := $(BUILD)/browser/env
FAST := $(BUILD)/fast/micropython
UMQTT := $(BUILD)/umqtt/umqtt/simple.py
# four workers on two cores: two of them mostly wait (tests/conftest.py)
ALL_TESTS = $(PY) -m pytest tests/portable tests/host tests/hil -n 4 --dist loadgroup
# the short form of the portable tests on the image; make rp2040 runs them all
ON_IMAGE := cbor clock framing interlock lease p256 tick_heap units wire worker
SCENARIO ?= default
SIGNAL ?=
SEED ?=
CLOCK ?=
HOURS ?=
OUT ?=
ONLY ?=
AGC ?=
BOARD ?=
PORT ?=

.PHONY: fast fmea flash help hil test nightly rp2040 check portable bench lint types clean setup coverage mutation

help: ## say what there is
	@grep -E '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

$(VENV)/.made: pyproject.toml tools/make_venv.sh
	tools/make_venv.sh $(VENV) $(BUILD)
	@touch $@

$(MPY): tools/get_micropython.sh tools/script.sh tools/debian.sh
	tools/get_micropython.sh $(BUILD)
	@touch -h $@

$(RP2040): tools/get_rp2040.sh tools/script.sh tools/debian.sh tools/rp2040_bootrom.py $(VENV)/.made
	tools/get_rp2040.sh $(BUILD)
	@touch $@

$(SERVICES): tools/get_services.sh tools/script.sh tools/debian.sh tools/unpack_missing.sh
	tools/get_services.sh $(BUILD)
	@touch $@

$(BROWSER): tools/get_browser.sh tools/script.sh tools/debian.sh tools/unpack_missing.sh
	tools/get_browser.sh $(BUILD)
	@touch $@

$(FAST): tools/make_micropython.sh tools/script.sh tools/debian.sh $(VENV)/.made $(MPY)
	tools/make_micropython.sh $(BUILD)
	@touch -h $@

$(UMQTT): tools/get_umqtt.sh tools/script.sh $(VENV)/.made
	tools/get_umqtt.sh $(BUILD)
	@touch $@

setup: $(VENV)/.made $(MPY) ## virtual environment and MicroPython, nothing else

fast: setup $(FAST) ## MicroPython compiled here for speed: campaigns and virtual runs take it (half a minute)
	@$(PY) tools/run_portable.py --micropython $(FAST)

hil: setup ## run the bench: SCENARIO SIGNAL SEED CLOCK HOURS OUT
	@$(PY) -m host_tools.cli.main hil run '$(SCENARIO)' $(if $(SIGNAL),--signal '$(SIGNAL)') \
		$(if $(SEED),--seed '$(SEED)') $(if $(CLOCK),--clock '$(CLOCK)') \
		$(if $(HOURS),--hours '$(HOURS)') $(if $(OUT),--out '$(OUT)')

portable: setup ## the portable tests on MicroPython alone
	@$(PY) tools/run_portable.py --micropython $(MPY)

test: setup $(FAST) $(RP2040) $(SERVICES) $(BROWSER) $(UMQTT) check ## rules, both interpreters, host, bench; long campaigns by a sample
	@$(ALL_TESTS)
	@$(PY) tools/run_portable.py --rp2040 $(ON_IMAGE:%=tests/portable/test_%.py)
	@$(PY) tools/run_portable.py --micropython $(MPY)

nightly: setup $(FAST) $(RP2040) $(SERVICES) $(BROWSER) $(UMQTT) check ## all tests with the whole of their campaigns: every cut, every bit (an hour)
	@CELLWALL_WHOLE=1 $(ALL_TESTS)
	@$(PY) tools/run_portable.py --rp2040
	@$(PY) tools/run_portable.py --micropython $(MPY)

rp2040: setup $(RP2040) ## the RP2040 image in its emulator: tests, portable tests, figures (half an hour)
	@CELLWALL_WHOLE=1 $(PY) -m pytest tests/hil/test_rp2040*.py tests/hil/test_provision*.py tests/rp2040
	@$(PY) tools/run_portable.py --rp2040
	@$(PY) tools/bench.py --only '^rp2040'

flash: setup ## bring the firmware onto a board: BOARD=rpi_pico PORT=/dev/ttyACM0
	@$(if $(and $(BOARD),$(PORT)),,$(error say BOARD= and PORT=, as in: make flash BOARD=rpi_pico PORT=/dev/ttyACM0))
	@$(PY) -m host_tools.cli.main flash '$(PORT)' --board '$(BOARD)'

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

bench: setup $(FAST) ## every benchmark, or those matching ONLY=pattern; AGC=file.csv for real days
	@$(PY) tools/bench.py $(if $(ONLY),--only '$(ONLY)') $(if $(AGC),--agc '$(AGC)')

clean: ## remove everything that was built
	rm -rf $(BUILD)
