# Two commands on a fresh machine (Python >= 3.11, make, and the package index):
#   make demo    sets everything up and makes results/fig5.pdf and results/table1.md from drawn images
#   make test    sets everything up and passes all tests but those that `make test-slow` runs
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FAISS := $(if $(shell command -v nvidia-smi 2>/dev/null),gpu,cpu)
# Without a GPU, jobs that could use one run side by side on the cores.
GPUS ?= $(if $(shell command -v nvidia-smi 2>/dev/null),1,0)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-slow test-cluster lint format docs verify clean
.DELETE_ON_ERROR:

demo: $(VENV)/.workflow
	$(BIN)/snakemake results/fig5.pdf results/table1.md --configfile config/ablations/transfer_only.yaml --cores all \
		--resources gpu=$(GPUS) --quiet rules
	@echo && cat results/table1.md && echo && echo "figure: results/fig5.pdf"
	@echo "These attackers do not know of the defence. Those who do, and the worst case (several times longer):"
	@echo "  $(BIN)/snakemake results/worst_case.md --cores all --resources gpu=$(GPUS)"

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadscope -q --durations=20 -m "not slow"

test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -q --durations=20 -m slow

# A Slurm of one node, which is started for it; says what is missing where it cannot. Slurm's plugin goes into $(VENV).
test-cluster: $(VENV)/.cluster
	$(BIN)/python -m pytest tests/cluster -q -rs --durations=10

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/Snakefile rules
	$(BIN)/snakemake --lint

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/Snakefile rules

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python >= 3.11 is needed, $(PYTHON) is $$($(PYTHON) --version); set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.workflow: $(VENV)/.python pyproject.toml requirements.lock
	@echo "installing (several GB, a few minutes) ..."
	$(PIP) --constraint requirements.lock --editable '.[workflow,$(FAISS)]'
	touch $@

$(VENV)/.test: $(VENV)/.workflow
	$(PIP) --constraint requirements.lock --editable '.[workflow,$(FAISS),test]'
	touch $@

$(VENV)/.cluster: $(VENV)/.test
	$(PIP) --constraint requirements.lock --editable '.[workflow,$(FAISS),test,cluster]'
	touch $@

docs: $(VENV)/.workflow
	$(BIN)/python -m nndefense.config --write
	$(BIN)/python -m nndefense.report --write README.md

verify: $(VENV)/.workflow
	$(BIN)/python scripts/verify.py results

clean:
	rm -rf $(VENV) .snakemake results
