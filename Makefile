# Nothing else to remember: make demo, make test, make test-all, make lint.
PYTHON ?= python3
ENGINE ?= pytorch
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: help demo test test-all lint install gguf dev clean
.DEFAULT_GOAL := help

help:
	@echo "make demo      install, then build a small language model from Python's own documentation and chat with it"
	@echo "               make demo ENGINE=mlx does it with MLX, on a Mac with Apple silicon"
	@echo "make test      install, then run the tests (under 12 minutes on 2 cores)"
	@echo "make test-all  the slow tests too"
	@echo "make lint      ruff and mypy"
	@echo "make install   everything but llama.cpp's binding; make dev: everything, and what the tests need"
	@echo "make gguf      install llama.cpp's Python binding (where no built one is at hand it is compiled: 5-8 minutes on 2 cores)"

$(VENV)/.core: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) was not found. Install Python 3.11 or newer, or say which: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $$($(PYTHON) --version) is too old. Install Python 3.11 or newer, or say which: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.gguf: $(VENV)/.core
	@echo "Installing llama.cpp's Python binding; where no built one is at hand it is compiled, which takes minutes ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[gguf,tuning,qlora,benchmarks]'
	@touch $@

$(VENV)/.mlx: $(VENV)/.core
	@echo "Installing MLX ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[mlx]'
	@touch $@

$(VENV)/.dev: $(VENV)/.gguf
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,gguf,tuning,qlora,benchmarks,mlx]'
	@touch $@

install: $(VENV)/.core
gguf: $(VENV)/.gguf
dev: $(VENV)/.dev

# llama.cpp is compiled beside the training, at the lowest priority. The export waits for $(VENV)/gguf-build.pid.
# MLX needs none.
demo: $(VENV)/.core $(if $(filter mlx,$(ENGINE)),$(VENV)/.mlx)
	@test $(ENGINE) = mlx || $(BIN)/python -c 'import importlib.util as u, sys; sys.exit(not (u.find_spec("llama_cpp") and u.find_spec("gguf")))' || { \
	  nohup sh -c 'nice -n 19 $(BIN)/python -m pip install --disable-pip-version-check --editable ".[gguf]"; rm -f $(VENV)/gguf-build.pid' \
	    > $(VENV)/gguf-build.log 2>&1 & echo $$! > $(VENV)/gguf-build.pid; }
	@$(BIN)/workbench demo demo-project --engine $(ENGINE)

test: $(VENV)/.dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 3 --dist loadscope

test-all: $(VENV)/.dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 3 --dist loadscope -m ''

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info
