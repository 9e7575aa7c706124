# Two commands do everything: `make demo` and `make test`. Each sets up a virtual environment first.
#   PYTHON=python3.12    the interpreter to create it with
#   TORCH=torch==2.13.0  the build of torch, installed first, by pip; TORCH="torch==2.13.0+cu130" keeps a CUDA build
#   SIZE=tiny            tiny, small or paper
#   CASES=20000          spoilt files per target of fuzz
#   REPOSITORY=me/it     the repository's place on GitHub, once it has one: the workshop's notebooks get Colab badges
#   TESTBEDS=...         folder that testbed-NAME writes into; the testbeds that ship are in data/testbeds

PYTHON ?= python3
VENV ?= .venv
PEERS ?= .venv-peers
TORCH ?= $(shell grep '^torch==' requirements.lock | cut -d+ -f1)
SIZE ?= tiny
WORKERS ?= 2
CASES ?= 20000
TESTBEDS ?= data/runs/testbeds
REPOSITORY ?=
BIN := $(VENV)/bin
NO_STOCKFISH = echo "No Stockfish, so the built-in engine plays. To install it: sudo apt-get install stockfish, brew install stockfish, or stockfishchess.org; it must be on the PATH."
STUDY := experiments/demo/study.yaml

.DEFAULT_GOAL := help
TESTBED_TARGETS := testbed-othello6-tiny testbed-othello-small testbed-chess-random testbed-chess-small
STUDY_TARGETS := $(foreach name,$(notdir $(wildcard experiments/*)),$(if $(wildcard boardgame_sae/studies/$(name).py boardgame_sae/studies/$(name)/__init__.py),study-$(name)))
.PHONY: $(TESTBED_TARGETS) $(STUDY_TARGETS) help install demo demo-chess first-look saebench two-squares recipes workshop workshop-notebooks test lint format types layers unit slow browser cluster trackers fuzz kill peers stockfish docs bench bench-saes bench-metrics train-othello-gpt train-chess-gpt clean

help: ## List the targets
	@grep -hE '^[a-zA-Z_$$()-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^.*(testbed|study)-%:/\1-NAME:/; s/:.*## /\t/' | expand -t 22

install: $(VENV)/.installed ## Create the virtual environment and install everything into it

$(VENV)/.installed: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH)
	grep -v '^torch==' requirements.lock > $(VENV)/constraints.txt
	$(BIN)/python -c 'from importlib.metadata import version; print("torch==" + version("torch"))' >> $(VENV)/constraints.txt
	$(BIN)/python -m pip install --quiet --constraint $(VENV)/constraints.txt --editable '.[dev]'
	touch $@

demo: install ## Play, train, probe, decompose, score and report, on 6x6 Othello, in minutes
	$(BIN)/boardgame-sae sweep $(STUDY) --workers $(WORKERS) --out data/runs/demo
	$(BIN)/boardgame-sae report data/runs/demo --out data/runs/demo-report

demo-chess: install ## The same pipeline on chess, in minutes; needs no chess engine
	$(BIN)/boardgame-sae sweep experiments/demo_chess/study.yaml --workers $(WORKERS) --out data/runs/demo-chess
	$(BIN)/boardgame-sae report data/runs/demo-chess --out data/runs/demo-chess-report

train-othello-gpt: install ## Train an Othello GPT: SIZE=tiny (6x6, minutes), small (8x8, hours), paper (8x8, a GPU)
	$(BIN)/boardgame-sae sweep experiments/othello_gpt/$(SIZE).yaml --workers $(WORKERS)

train-chess-gpt: install stockfish ## Train a chess GPT: SIZE=tiny (minutes), small (hours), paper (a GPU)
	$(BIN)/boardgame-sae sweep experiments/chess_gpt/$(SIZE).yaml --workers $(WORKERS)

$(TESTBED_TARGETS): testbed-%: install ## Rebuild a shipped testbed from scratch: GPT, games, probes, SAEs, scores, card (hours)
	$(BIN)/boardgame-sae pack experiments/testbeds/$*.yaml --workers $(WORKERS) --out $(TESTBEDS)/$*

testbed-chess-small: stockfish

stockfish: ## Install Stockfish with apt if it is missing and that is possible; else say how (it is optional)
	@if PATH="$$PATH:/usr/games" command -v stockfish > /dev/null; then echo "Stockfish is installed."; \
	elif command -v apt-get > /dev/null && [ "$$(id -u)" = 0 ]; then apt-get install --yes stockfish || $(NO_STOCKFISH); \
	else $(NO_STOCKFISH); fi

test: install lint types layers unit ## Check everything: lint, types, layers, tests

lint: install ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install ## Fix style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: install ## Check types
	$(BIN)/pyright

layers: install ## Check that each layer imports only the layers below it
	$(BIN)/lint-imports

unit: install ## Run the tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

slow: install ## Run the long checks: chess against python-chess on 50,000 positions, tournaments with an engine
	$(BIN)/python -m pytest -m "slow or engine"

browser: install ## Check the report's page and the lessons in headless Chromium, which must be on the path
	$(BIN)/python -m pip install --quiet --constraint $(VENV)/constraints.txt --editable '.[browser,workshop]'
	$(BIN)/python -m pytest -m browser tests/report/explorer tests/workshop

cluster: install ## Check sweeps on a Ray cluster of several nodes on this machine, one of which is killed
	$(BIN)/python -m pip install --quiet --constraint $(VENV)/constraints.txt --editable '.[cluster]'
	$(BIN)/python -m pytest -m cluster tests/pipeline

trackers: install ## Check the trackers, offline, with their own libraries
	$(BIN)/python -m pip install --quiet --editable '.[trackers]'
	$(BIN)/python -m pytest -m trackers tests/model/trackers

fuzz: install ## Spoil files of every kind, 20,000 times each (CASES=), and check what reads them: a table of zeros (hours)
	PYTHONPATH=experiments $(BIN)/python -m robustness.fuzz --cases $(CASES) --workers $(WORKERS) --out data/runs/fuzz

kill: install ## Kill every verb at each of its writes, and compare all bytes after a rerun: a table of zeros (hours)
	PYTHONPATH=experiments $(BIN)/python -m robustness.kills.kill --out data/runs/kill

peers: $(PEERS)/.installed ## Check against SAELens, dictionary_learning and SAEBench, in a separate environment (3.2 GB)
	$(PEERS)/bin/python -m pytest -m "" tests/interop
	$(PEERS)/bin/python -m pytest tests/games

# They need TransformerLens 3 and numpy 1.26, the lock has 4 and 2: so the games are checked there too. The torchvision
# they install is built for another torch and breaks imports.
$(PEERS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet $(TORCH)
	$(PEERS)/bin/python -c 'from importlib.metadata import version; print("torch==" + version("torch"))' > $(PEERS)/constraints.txt
	$(PEERS)/bin/python -m pip install --quiet --constraint $(PEERS)/constraints.txt --editable '.[peers]'
	$(PEERS)/bin/python -m pip uninstall --quiet --yes torchvision
	touch $@

first-look: install ## Score every architecture at many sparsities, and layer by layer, on othello-small (hours)
	$(BIN)/boardgame-sae sweep experiments/first-look/study.yaml --out data/runs/first-look
	for study in layers seeds; do \
	  $(BIN)/boardgame-sae sweep experiments/first-look/$$study.yaml --out data/runs/first-look-$$study || exit 1; done
	$(BIN)/boardgame-sae report data/runs/first-look data/runs/first-look-layers data/runs/first-look-seeds \
	  --out data/runs/first-look-report
	$(BIN)/python experiments/first-look/results.py data/runs/first-look-report experiments/first-look/results

saebench: install ## Every score of every architecture at three sparsities, and which scores agree (hours)
	for study in othello6-tiny othello-small floors; do \
	  $(BIN)/boardgame-sae sweep experiments/saebench/$$study.yaml --out data/runs/saebench-$$study || exit 1; done
	$(BIN)/boardgame-sae report data/runs/saebench-othello6-tiny data/runs/saebench-othello-small \
	  data/runs/saebench-floors --out data/runs/saebench-report
	$(BIN)/python experiments/saebench/results.py data/runs/saebench-report experiments/saebench/results

two-squares: install ## Edits of one and of two squares through the latents of SAEs that ship (minutes)
	$(BIN)/python experiments/saebench/two_squares.py experiments/saebench/two_squares.md

recipes: install ## Search settings of SAE training that are good at a budget, on reconstruction alone (hours)
	$(BIN)/python experiments/recipes/search.py experiments/recipes/search.yaml experiments/recipes/results.md

workshop: install ## Check this machine and open lesson 1 of the workshop in the browser
	$(BIN)/python -m pip install --quiet --constraint $(VENV)/constraints.txt --editable '.[workshop]'
	$(BIN)/python -m boardgame_sae.workshop

workshop-notebooks: install ## Export the lessons of the workshop for Jupyter and Colab, and its slides
	$(BIN)/python -m boardgame_sae.workshop.notebooks experiments/workshop $(if $(REPOSITORY),--repository $(REPOSITORY))
	$(BIN)/python -m boardgame_sae.workshop.slides experiments/workshop

$(STUDY_TARGETS): study-%: install ## Run one of the papers' studies and copy its tables (minutes to two hours)
	$(BIN)/boardgame-sae study $* --results experiments/$*/results

docs: install ## Build the documentation as a site in build/docs, which opens without a network
	$(BIN)/python -m pip install --quiet --constraint $(VENV)/constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: demo stockfish ## Measure speed, side by side with peers
	$(BIN)/python -m pip install --quiet --constraint $(VENV)/constraints.txt --editable '.[bench]'
	$(BIN)/python experiments/benchmarks/run.py

bench-saes: $(PEERS)/.installed ## Measure training steps of SAEs, side by side with SAELens and dictionary_learning
	$(PEERS)/bin/python experiments/benchmarks/bench_saes.py
	$(PEERS)/bin/python experiments/benchmarks/bench_stream.py

bench-metrics: install ## Measure time and memory of the supervised scores, side by side with the published way of counting
	$(BIN)/python experiments/benchmarks/bench_metrics.py

clean: ## Remove the virtual environment (runs are kept)
	rm -rf $(VENV)
