# make demo    train on two Spark executors, from nothing
# make test    formatting, types and the tests that take minutes
# make test-yarn the tests on real HDFS and YARN daemons
# make test-all  all tests, those that take longer included: full MNIST, fault injection, YARN
# make bench   the benchmark tables

ENV := scripts/with-env

.PHONY: demo test test-yarn test-all check bench clean

demo:
	$(ENV) scripts/demo

check:
	$(ENV) ruff format --check .
	$(ENV) ruff check .
	$(ENV) mypy

test: check
	$(ENV) pytest -m "not slow"

test-yarn:
	$(ENV) pytest tests/yarn

test-all: check
	$(ENV) pytest

bench:
	$(ENV) python -m benchmarks

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
