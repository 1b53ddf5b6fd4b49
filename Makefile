# Two commands on a fresh machine (Python >= 3.11, make, and the package index):
#   make demo    sets everything up and makes results/fig5.pdf and results/table1.md from synthetic images
#   make test    sets everything up and passes all tests but those that `make test-slow` runs
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Without a GPU, jobs that could use one run side by side on the cores.
GPUS ?= $(if $(shell command -v nvidia-smi 2>/dev/null),1,0)
# Programs start by their module: a script in $(BIN) names its Python, in a way that not every folder's name survives.
RUN := $(BIN)/python -m
PIP := $(RUN) pip install --quiet --disable-pip-version-check

.PHONY: demo test test-slow test-browser test-cluster test-gpu lint format docs docs-site leaderboard verify clean
.DELETE_ON_ERROR:

demo: $(VENV)/.workflow
	$(RUN) snakemake results/fig5.pdf results/table1.md --configfile config/ablations/transfer_only.yaml --cores all \
		--resources gpu=$(GPUS) --quiet rules
	@echo && cat results/table1.md && echo && echo "figure: results/fig5.pdf"
	@echo "These attackers do not know of the defence. Those who do, and the worst case (several times longer):"
	@echo "  $(BIN)/snakemake results/worst_case.md --cores all --resources gpu=$(GPUS)"

test: lint
	$(RUN) pytest -n 2 --dist loadscope -q --durations=20 -m "not slow"

test-slow: $(VENV)/.test
	$(RUN) pytest -q --durations=20 -m slow

# The HTML pages in headless Chromium; says what is missing where there is none.
test-browser: $(VENV)/.test
	$(RUN) pytest tests/browser -q -rs

# A Slurm of one node, which is started for it; says what is missing where it cannot. Slurm's plugin goes into $(VENV).
test-cluster: $(VENV)/.cluster
	$(RUN) pytest tests/cluster -q -rs --durations=10

# Says what is missing where there is no GPU. Prints votes that change, and a table of throughput.
test-gpu: $(VENV)/.test
	$(RUN) pytest tests/gpu -q -rsP --show-capture=stdout --durations=10

lint: $(VENV)/.test
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) snakefmt --check Snakefile workflow/Snakefile rules
	$(RUN) snakemake --lint
	$(RUN) mypy

format: $(VENV)/.test
	$(RUN) ruff check --fix .
	$(RUN) ruff format .
	$(RUN) snakefmt Snakefile workflow/Snakefile rules

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python >= 3.11 is needed, $(PYTHON) is $$($(PYTHON) --version); set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.workflow: $(VENV)/.python pyproject.toml requirements.lock
	@echo "installing (several GB, a few minutes) ..."
	$(PIP) --constraint requirements.lock --editable '.[workflow]'
	touch $@

$(VENV)/.test: $(VENV)/.workflow
	$(PIP) --constraint requirements.lock --editable '.[workflow,test]'
	touch $@

$(VENV)/.cluster: $(VENV)/.test
	$(PIP) --constraint requirements.lock --editable '.[workflow,test,cluster]'
	touch $@

docs: $(VENV)/.workflow
	$(RUN) nndefense.config --write
	$(RUN) nndefense.report --write README.md

# Pages that can be opened from the folder: build/site/index.html
docs-site: $(VENV)/.test
	$(RUN) mkdocs build --strict --quiet

# Scores the entries again whose runs lie in results/; the page is build/leaderboard.html.
leaderboard: $(VENV)/.workflow
	$(RUN) nndefense.cli leaderboard leaderboard --output build/leaderboard.html --markdown docs/leaderboard.md

verify: $(VENV)/.workflow
	$(BIN)/python scripts/verify.py results

clean:
	rm -rf $(VENV) .snakemake results
