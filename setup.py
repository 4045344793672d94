"""Installs the library and the console script ``caffeonspark``. Caffe itself comes from conda or Debian."""

import re

from setuptools import find_packages, setup

with open("caffeonspark/__init__.py") as f:
    version = re.search(r'__version__ = "(.+)"', f.read()).group(1)
with open("README.md", encoding="utf-8") as f:
    readme = f.read()

setup(
    name="caffeonspark",
    version=version,
    description="Distributed deep learning with Caffe nets on Apache Spark",
    long_description=readme,
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["caffeonspark", "caffeonspark.*"]),
    package_data={
        "caffeonspark": ["py.typed"],
        "caffeonspark.nets": ["*.proto"],
        "caffeonspark.formats": ["*.proto"],
        "caffeonspark.report": ["page.*"],
    },
    python_requires=">=3.8",
    install_requires=["pyspark>=3.5,<4.1", "numpy", "protobuf", "lmdb", "pyarrow", "pandas", "pillow", "tqdm"],
    extras_require={
        "encrypt": ["cryptography>=42"],
        "jpeg": ["simplejpeg"],
        "hdf5": ["h5py"],
        "curve": ["matplotlib"],
        "tensorboard": ["tensorboardX>=2.5,<2.6"],  # later ones need a newer protobuf than Caffe's
        "mlflow": ["mlflow-skinny"],
        "test": ["pytest", "pytest-timeout", "hypothesis", "mypy", "ruff"],
    },
    entry_points={"console_scripts": ["caffeonspark = caffeonspark.api.cli:main"]},
)
