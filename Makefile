# Needs Python 3.11 or newer, git and make; each target sets up .venv by itself, once.
.DEFAULT_GOAL := help
.PHONY: help demo test lint format docs record bench soak scenarios kill-matrix pictures release-check

# .venv/bin comes first, as tools/prometheus.sh may have put prometheus and promtool there.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
PYTHON_IN_VENV := .venv/bin/python

# Where this is set, each process would compile all of Baton anew, and the tests start hundreds.
unexport PYTHONDONTWRITEBYTECODE

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "ARGS='...' hands options on to demo, test, record, bench and soak."

demo: ## watch a small fleet lose workers and lose nothing else
	@sh tools/setup.sh demo
	@sh tools/prometheus.sh || true
	@.venv/bin/baton demo $(ARGS)

test: lint ## everything a release must pass: lint, types, all tests
	@sh tools/prometheus.sh || true
	$(PYTHON_IN_VENV) -m pytest -n 2 $(ARGS)

lint: ## style, format, types, and whether what is rendered has drifted
	@sh tools/setup.sh dev
	$(PYTHON_IN_VENV) -m ruff check
	$(PYTHON_IN_VENV) -m ruff format --check
	$(PYTHON_IN_VENV) -m mypy
	.venv/bin/baton render --check
	$(PYTHON_IN_VENV) tools/kill_matrix.py --check
	$(PYTHON_IN_VENV) tools/scenarios.py --check

format: ## put the code into the house format
	@sh tools/setup.sh dev
	$(PYTHON_IN_VENV) -m ruff check --fix
	$(PYTHON_IN_VENV) -m ruff format

docs: ## write what is rendered from code and data: pages, alert rules, dashboards
	@sh tools/setup.sh dev
	.venv/bin/baton render
	$(PYTHON_IN_VENV) tools/render_charter.py
	$(PYTHON_IN_VENV) tools/render_diagnostics.py

record: ## record what the exporter serves during real kills, for the tests of the alerts
	@sh tools/setup.sh dev
	$(PYTHON_IN_VENV) tools/record.py $(ARGS)

bench: ## measure what leases, takeovers and scrapes cost on this machine
	@sh tools/setup.sh bench
	$(PYTHON_IN_VENV) -m benchmarks $(ARGS)

soak: ## break simulated fleets for an hour; what it shows is in soak.out
	@sh tools/setup.sh dev
	.venv/bin/baton soak $(or $(ARGS),--hours 1 --out soak.out)

release-check: ## everything that a release must show, into release.out; ends in GO or says why not
	@sh tools/setup.sh dev
	@sh tools/prometheus.sh || true
	@$(PYTHON_IN_VENV) tools/release_check.py $(ARGS)

scenarios: ## perform every scenario on both engines and both stores; evidence in scenarios.out
	@sh tools/setup.sh dev
	$(PYTHON_IN_VENV) tools/scenarios.py $(ARGS)

kill-matrix: ## plant every bug before every scenario, and write which assertion catches it
	@sh tools/setup.sh dev
	$(PYTHON_IN_VENV) tools/kill_matrix.py

pictures: ## draw the dashboards from a live demo; wants node, npm and Chromium
	@sh tools/setup.sh demo
	@sh tools/prometheus.sh
	@sh tools/pictures/draw.sh
