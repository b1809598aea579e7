# `make` runs all that a commit needs: format, lint, types, tests (the rooms among them).
RUN ?= uv run
TESTS ?= not evidence

.PHONY: check format docs
check:
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) pytest -m "$(TESTS)"

format:
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

docs:
	uv run --group docs mkdocs build --strict --site-dir dist/site
