# make demo: from nothing to the free-energy surface of a molecule.   make test: every law of the library.
PYTHON ?= python3
TORCH := torch>=2.6,<2.14
# A machine without a GPU can save 2 GB: make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
CORES ?= 2
RUN := .venv/bin/snakemake -s workflows/Snakefile --cores $(CORES)

.PHONY: demo test lint install report clean

install: .venv/stamp

.venv/stamp: pyproject.toml
	$(PYTHON) -m venv .venv
	$(if $(TORCH_INDEX),.venv/bin/pip install -q --extra-index-url $(TORCH_INDEX) --no-deps "$(TORCH)")
	.venv/bin/pip install -q --disable-pip-version-check -e ".[dev]"
	touch $@

demo: .venv/stamp
	$(RUN)
	$(RUN) --report results/report.html --quiet all
	@.venv/bin/python -m sciflow summary results/ala2

test: .venv/stamp
	.venv/bin/pytest

lint: .venv/stamp
	.venv/bin/ruff check sciflow tests docs notebooks
	.venv/bin/ruff format --check sciflow tests docs
	.venv/bin/mypy
	.venv/bin/snakefmt --check workflows
	.venv/bin/snakemake -s workflows/Snakefile --lint

clean:
	rm -rf results
