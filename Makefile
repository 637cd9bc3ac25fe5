# The commands of this project. Each sets up .venv first where it is missing or out of date.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: train test test-slow test-ceph test-browser test-postgres test-crd lint benchmark mlflow clean

train: $(READY)  ## make the sample set, train, test and register a model
	$(BIN)/python pipelines/train_arid.py $(ARGS)

test: lint  ## lint, types and every test that is not slow
	$(BIN)/python -m pytest -m "not slow and not ceph and not browser and not postgres and not crd" $(ARGS)

test-slow: $(READY)  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow $(ARGS)

test-ceph: $(READY)  ## index, training and resume against a real object store, from Debian's packages (as root)
	which radosgw ceph-mon ceph-osd || (apt-get update && apt-get install -y --no-install-recommends ceph-mon ceph-osd ceph-common radosgw)
	$(BIN)/python -m pytest -m ceph $(ARGS)

test-browser: $(READY)  ## the report of a run in Chromium, from Debian's packages (as root)
	which chromium chromedriver || (apt-get update && apt-get install -y --no-install-recommends chromium chromium-driver)
	$(BIN)/python -m pytest -m browser $(ARGS)

test-postgres: $(READY)  ## registry and promotion behind MLflow's server on PostgreSQL, from Debian's package (as root)
	ls /usr/lib/postgresql/*/bin/initdb || (apt-get update && apt-get install -y --no-install-recommends postgresql)
	$(BIN)/python -m pytest -m postgres $(ARGS)

test-crd: $(READY)  ## the RayCronJob by the CRD that KubeRay publishes (needs the internet, or KUBERAY_CRD=file:///...)
	$(BIN)/python -m pytest -m crd $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check --python $(VENV)

benchmark: $(READY)  ## the ratios of RESULTS.md
	$(BIN)/python pipelines/benchmark.py $(ARGS)

mlflow: $(READY)  ## MLflow's page over the runs of this folder, on loopback
	$(BIN)/mlflow server --backend-store-uri sqlite:///runs/mlflow.db --host 127.0.0.1 --port 5000 --workers 1

$(READY): pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache
