"""A JVM that ends under the driver: one line, and nothing of py4j's own. A bare JVM stands for Spark's."""

import gc
import glob
import logging
import os
import subprocess
from types import SimpleNamespace

import pyspark
import pytest
from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway
from pyspark import SparkContext

from caffeonspark.api.config import Config
from caffeonspark.causes import JVM_GONE, STOPPED, explained
from caffeonspark.errors import ConfigError, InfrastructureError, Interrupted
from caffeonspark.report.base import Observer
from caffeonspark.runs.run import train
from caffeonspark.spark.jvm import jvm_needed, jvm_runs


@pytest.fixture(autouse=True)
def loggers():
    """As they were: what is quiet stays so where the JVM is gone."""
    kept = {name: list(logging.getLogger(name).filters) for name in (None, "py4j.java_gateway", "py4j.clientserver")}
    yield
    for name, filters in kept.items():
        logging.getLogger(name).filters[:] = filters


@pytest.fixture(params=["our child", "our parent's"])
def gateway(request, monkeypatch):
    """PySpark's gateway; spark-submit's JVM is not the driver's child."""
    jar = glob.glob(os.path.join(os.path.dirname(pyspark.__file__), "jars", "py4j-*.jar"))[0]
    java = os.path.join(os.environ["JAVA_HOME"], "bin", "java") if "JAVA_HOME" in os.environ else "java"
    port, process = launch_gateway(jarpath=jar, java_path=java, redirect_stderr=subprocess.DEVNULL, return_proc=True)
    found = JavaGateway(gateway_parameters=GatewayParameters(port=port))
    found.process = process
    found.proc = process if request.param == "our child" else None
    monkeypatch.setattr(SparkContext, "_gateway", found)
    monkeypatch.setattr(SparkContext, "_jvm", found.jvm)
    yield found
    process.kill()
    process.wait()


def end(gateway):
    gateway.process.kill()
    gateway.process.wait()


def test_what_needs_the_jvm_ends_with_one_line(gateway, caplog):
    assert jvm_runs()
    made = gateway.jvm.java.util.ArrayList()
    with pytest.raises(InfrastructureError) as raised, jvm_needed("go on later"), explained():
        made.add(1)
        end(gateway)
        made.add(2)
    assert raised.value.message == f"{JVM_GONE}: go on later"
    assert not jvm_runs()
    del made
    gc.collect()
    assert not caplog.records


def test_objects_of_a_jvm_that_ended_are_let_go_in_silence(gateway, caplog):
    """A session that was stopped, JVM and all, leaves some behind: they go in the middle of the next one's run."""
    made = [gateway.jvm.java.util.ArrayList() for _ in range(3)]
    end(gateway)
    with jvm_needed():
        del made
        gc.collect()
    assert not caplog.records


def test_other_errors_stay_what_they_are(gateway):
    with pytest.raises(KeyError), jvm_needed():
        raise KeyError("a bug")


def test_what_was_stopped_stays_stopped(gateway):
    with pytest.raises(Interrupted), jvm_needed():
        end(gateway)
        raise Interrupted("stopped by SIGINT at iteration 7: a snapshot is saved")


def test_without_any(monkeypatch):
    monkeypatch.setattr(SparkContext, "_gateway", None)
    assert not jvm_runs()


def test_a_stopped_session():
    context = object.__new__(SparkContext)
    context._jsc = None  # what stop() leaves
    with pytest.raises(ConfigError, match=STOPPED):
        Config(context)
    with pytest.raises(ConfigError, match=f"^here: {STOPPED}"), explained("here"):
        context.setLogLevel("OFF")
    config = SimpleNamespace(spark=SimpleNamespace(sparkContext=context))
    with pytest.raises(ConfigError, match=STOPPED):  # a run is begun with what was made before
        train(config, None, [], Observer(), None)
    with pytest.raises(AttributeError), explained("here"):
        None.anything  # noqa: B018, a bug of ours
