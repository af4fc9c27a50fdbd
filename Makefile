# Two commands for a newcomer: `make demo` and `make test`. Everything else is listed by `make help`.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := platform crypto governance cli migrations tests benchmarks examples docs
SOURCE_PACKAGES := platform/fedseal crypto/fedseal_crypto governance/fedseal_governance cli/fedseal_cli migrations/fedseal_migrations
WORKERS ?= 2
BENCHES := $(patsubst benchmarks/%.py,bench-%,$(filter-out benchmarks/_%,$(wildcard benchmarks/*.py)))

.PHONY: flower-client help setup demo test check lint types imports unit soak docs bench $(BENCHES) study study-lockdown proto vectors format constraints clean

help: ## list the targets
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	# torch first and alone: asked for together with others, some resolvers take a CUDA build
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

setup: $(STAMP) ## install fedseal and its development tools into .venv

demo: setup ## four hospitals train one model, in ./demo
	$(BIN)/fedseal demo --folder demo --force

test: setup lint types imports unit ## lint, types, import contract and tests

lint: setup ## ruff, rules and format
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: setup ## mypy --strict
	$(BIN)/mypy $(SOURCE_PACKAGES) tests
	MYPYPATH=docs $(BIN)/mypy docs/build.py

imports: setup ## cli -> platform -> governance -> crypto
	$(BIN)/lint-imports

unit: setup ## the tests alone
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

soak: setup ## ten thousand simulated schedules of lost, late and repeated messages and crashes; about ten minutes
	$(BIN)/python -m pytest -q -m soak tests/simulation

flower-client: setup ## an unmodified Flower client as a learner, with Flower installed into an environment of its own
	$(BIN)/python benchmarks/_flower_client.py

docs: setup ## regenerate the reference pages from the code and check the links
	$(BIN)/python docs/build.py

bench: $(BENCHES) ## every benchmark; `make bench-NAME JSON=FILE` for one

$(BENCHES): bench-%: setup
	JSON=$(JSON) $(BIN)/python benchmarks/$*.py

study: setup ## all methods under two skews, with and without attackers, in one report; hours, resumes (SHORT=1 minutes, SMALL=1 seconds)
	$(BIN)/fedseal simulate study $(if $(SMALL),examples/heart-disease/study.yaml,examples/fashion-mnist/$(if $(SHORT),study-short,study).yaml) --out benchmarks/out/study$(if $(SMALL),-small,$(if $(SHORT),-short))

study-lockdown: setup ## Lockdown in its paper's setting, beside its table; hours, resumes (ROUNDS, ARM, WIDE)
	ROUNDS=$(ROUNDS) ARM=$(ARM) WIDE=$(WIDE) $(BIN)/python benchmarks/_lockdown_study.py

proto: setup ## regenerate the gRPC code from platform/fedseal/wire/protos
	$(BIN)/python platform/fedseal/wire/protos/generate.py

vectors: setup ## regenerate the known-answer vectors
	$(BIN)/python tests/vectors/make_masking_vectors.py

format: setup ## let ruff rewrite
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

constraints: setup ## write the installed versions to constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable | grep -iv '^torch==' > constraints.txt
	echo 'torch==2.13.0' >> constraints.txt

clean: ## remove the environment and every output
	rm -rf $(VENV) demo benchmarks/out .mypy_cache .ruff_cache .pytest_cache .hypothesis
