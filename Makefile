# Each target makes what it needs, from a bare checkout.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test lint docs wheel bench requirements clean

help:
	@echo "make demo   draw data, train, predict: a report to look at in 7 to 11 minutes"
	@echo "make test   run the tests"
	@echo "make lint   check style, types and the order of the rooms"
	@echo "make docs   build the pages of docs into site/, to be read in a browser"
	@echo "make wheel  build dist/*.whl, to be installed where there is no checkout"
	@echo "make bench  measure the pages' figures again, four to five hours"

demo: $(READY)
	$(BIN)/defectseg demo

test: $(READY)
	$(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Its makers tell of a successor on every run, until they are asked not to.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "Open site/index.html."

bench: $(READY)
	$(BIN)/python benchmarks/demo.py
	$(BIN)/python benchmarks/dagm_class1.py
	$(BIN)/python benchmarks/magnetic_tile.py
	$(BIN)/python benchmarks/synthetic.py
	$(BIN)/python benchmarks/cost.py
	$(BIN)/python benchmarks/predict.py
	$(BIN)/python benchmarks/line.py
	$(BIN)/python benchmarks/ray_job.py
	$(BIN)/python benchmarks/networks.py
	$(BIN)/python benchmarks/gate.py
	$(BIN)/python benchmarks/quality.py
	$(BIN)/python benchmarks/blur_classifier.py
	$(BIN)/python benchmarks/drift.py

$(READY): requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

wheel: $(READY)
	rm -rf dist
	$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist
	@ls dist/*.whl

# After a change of the dependencies in pyproject.toml.
COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 \
	--no-emit-index-url --no-emit-find-links --quiet --custom-compile-command "make requirements"
requirements:
	$(COMPILE) --output-file requirements.txt
	$(COMPILE) --extra dev --constraint requirements.txt --output-file requirements-dev.txt

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
