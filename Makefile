# `make demo` sets everything up and segments a scan; `make test` sets everything up and passes the tests.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet -c constraints.txt

.PHONY: demo test guides lint docs wheel sbom audit clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(PIP) -e ".[test,lint]"
	touch $@

$(VENV)/docs: $(VENV)/installed
	$(PIP) -e ".[docs]"
	touch $@

$(VENV)/release: $(VENV)/installed
	$(PIP) -e ".[release]"
	touch $@

demo: $(VENV)/installed
	$(BIN)/anypet demo -o demo

test: $(VENV)/installed
	$(BIN)/python -m pytest -q -n 2 --cov=anypet --cov-report=term

# The commands of the guides and the examples, as a reader would run them.
guides: $(VENV)/installed
	$(BIN)/python -m pytest -q -m guides -rs --durations=10 tests/test_guides.py

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site, in site/. Not --quiet: that would hide the warnings that fail the build.
docs: $(VENV)/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# The source archive, and from it the wheel, in dist/; then the wheel alone in a new environment.
wheel: $(VENV)/release
	rm -rf dist
	$(BIN)/python -m hatchling build -t sdist -d dist
	$(BIN)/python -m pip wheel --quiet --no-deps -w dist dist/anypet-*.tar.gz
	$(BIN)/python tools/wheel.py dist/anypet-*.whl

# The bill of materials of the environment, as CycloneDX.
sbom: $(VENV)/release
	mkdir -p dist
	$(BIN)/python -m cyclonedx_py environment --pyproject pyproject.toml --mc-type library -o dist/sbom.json $(VENV)

audit: $(VENV)/release
	$(BIN)/python tools/audit.py

clean:
	rm -rf $(VENV) demo dist site
