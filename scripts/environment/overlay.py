#!/usr/bin/env python3
"""Lay more packages over the environment that build.py made, and print the folder that goes first on PYTHONPATH.

    overlay.py ENVIRONMENT pyspark VERSION      another PySpark
    overlay.py ENVIRONMENT docs                 what "make docs" needs

The environment stays as it is. The folders are kept in the user's cache, as build.py's are.
"""

import os
import shutil
import subprocess
import sys
from typing import List

from build import HERE, CannotBuild, Progress, definition_key, provide, run, say

PYSPARKS = ("4.0",)


def install(env: str, requirements: str, prefix: str) -> None:
    pip = [os.path.join(env, "bin", "python"), "-m", "pip", "install", "--no-deps", "--disable-pip-version-check", "-q"]
    wanted = ["--only-binary", ":all:", "--no-binary", "pyspark", "-r", os.path.join(HERE, requirements)]
    with Progress("Python packages, installing", prefix):
        run(
            [*pip, "--target", prefix, *wanted], "Installing from PyPI", dict(os.environ, PIP_ROOT_USER_ACTION="ignore")
        )


def check_java() -> None:
    """Raise CannotBuild unless the Java that Spark would start is one that Spark 4.0 runs on."""
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else shutil.which("java") or "java"
    process = subprocess.run([java, "-version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    version = process.stdout.decode(errors="replace").partition('"')[2].partition('"')[0].split(".")[0]
    if version not in ("17", "21"):
        raise CannotBuild("it needs Java 17 or 21, and {} is Java {}: set JAVA_HOME".format(java, version or "?"))


def main(words: List[str]) -> int:
    env, what = words[:2]
    name = "-".join(words[1:])
    try:
        if what == "pyspark":
            if words[2] not in PYSPARKS:
                raise CannotBuild("CAFFEONSPARK_PYSPARK is {}, or empty for 3.5".format(" or ".join(PYSPARKS)))
            check_java()
        requirements = f"{name}.txt"
        key = f"{what}-{definition_key(requirements)}"
        print(provide(key, lambda prefix, scratch: install(env, requirements, prefix)))
    except CannotBuild as e:
        say(f"caffeonspark: cannot get what {name} needs: {e}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
