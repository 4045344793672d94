# make demo    train on two Spark executors, from nothing
# make test    formatting, types and the tests that take minutes
# make test-long the longer ones that CI runs too
# make test-fast the tests that need no Spark
# make test-yarn the tests on real HDFS and YARN daemons
# make test-pyspark4 the tests that need Spark, on PySpark 4.0
# make test-all  all tests, those that take longer included: full MNIST, fault injection, YARN
# make bench   the benchmark tables, and benchmarks/README.md with them, in 90 minutes at most; again: the parts that are left
# make bench-short  one round of small sizes, to see that the benchmarks work, in 10 minutes; build/benchmarks/short/README.md
# make stubs   what editors know of the flags, from settings.py
# make docs    the documentation's site, in build/site
# make pictures the pictures in docs/images, from a real run; needs Chromium
# make dist    the source distribution and the wheel, in dist/

ENV := scripts/with-env
# two processes, each of which runs whole files
TWO := -n 2 --dist loadfile

.PHONY: demo test test-long test-fast test-yarn test-pyspark4 test-all check bench bench-short stubs docs pictures dist clean

demo:
	$(ENV) scripts/demo

check:
	$(ENV) ruff format --check .
	$(ENV) ruff check .
	$(ENV) mypy
	$(ENV) python scripts/make_stubs.py --check
	$(ENV) python scripts/docs/api_page.py

test: check
	$(ENV) pytest $(TWO) -m "not slow"

test-long:
	$(ENV) pytest $(TWO) -m long

test-fast:
	$(ENV) pytest $(TWO) -m "not spark and not slow"

test-yarn:
	$(ENV) pytest tests/yarn

test-pyspark4:
	CAFFEONSPARK_PYSPARK=4.0 $(ENV) pytest $(TWO) -m "spark and not slow"

test-all: check
	$(ENV) pytest

bench:
	$(ENV) python -m benchmarks --resume --markdown benchmarks/README.md

bench-short:
	mkdir -p build/benchmarks/short
	$(ENV) python -m benchmarks --short --busy --markdown build/benchmarks/short/README.md

stubs:
	$(ENV) python scripts/make_stubs.py

docs:
	CAFFEONSPARK_DOCS=1 NO_MKDOCS_2_WARNING=1 $(ENV) python -m mkdocs build --quiet

pictures: docs
	$(ENV) python scripts/make_pictures.py

dist:
	rm -rf dist build/lib build/bdist.* *.egg-info
	$(ENV) python -c 'from setuptools.build_meta import *; build_sdist("dist"); build_wheel("dist")'
	rm -rf build/lib build/bdist.* *.egg-info

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
