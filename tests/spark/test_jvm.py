"""What is read from the driver's JVM and from Spark's settings, in a real application."""

import threading
import time
from types import SimpleNamespace

import pytest

from caffeonspark.spark import jvm
from caffeonspark.spark.cluster import is_on, promised_slots, task_cpus, tasks_of_a_machine


def test_an_application(spark):
    context = spark.sparkContext
    assert promised_slots(context) == 4
    deadline = time.monotonic() + 60
    while jvm.task_slots(context) < 4 and time.monotonic() < deadline:  # executors that are still registering
        time.sleep(0.1)
    assert jvm.task_slots(context) == 4
    assert not jvm.is_stopped(context)
    assert jvm.application_attempt(context) is None
    assert jvm.setting_in_mb(context.getConf(), "spark.no.such.size", "2g") == 2048
    assert isinstance(jvm.has_native_hadoop(), bool)
    assert jvm.hadoop_configuration(context).get("fs.viewfs.mounttable.disk.link./root") == "file:///"


def test_an_array(spark):
    java = jvm.Jvm()
    array = java.array(java.classes.java.lang.Object, ["a", 1])
    assert list(java.classes.java.util.Arrays.asList(array)) == ["a", 1]


def test_the_executors_of_a_group(spark):
    context = spark.sparkContext
    found = {}

    def run():
        context.setJobGroup("one", "sleeps")
        context.parallelize(range(2), 2).foreach(lambda _: time.sleep(6))
        context.setLocalProperty("spark.jobGroup.id", None)

    thread = threading.Thread(target=run)
    thread.start()
    while len(found) < 2 and thread.is_alive():
        found = jvm.executors_of_group(context, "one")
        time.sleep(0.1)
    thread.join()
    assert set(found) == {0, 1}
    assert set(found.values()) <= {"0", "1"}
    assert jvm.executors_of_group(context, "one") == {}
    assert jvm.executors_of_group(context, "another") == {}


@pytest.mark.parametrize(
    ("master", "settings", "slots"),
    [
        ("local-cluster[3, 5, 1024]", {"spark.task.cpus": "2"}, 6),
        ("yarn", {"spark.executor.instances": "3"}, 3),
        ("yarn", {"spark.executor.instances": "3", "spark.executor.cores": "4", "spark.task.cpus": "2"}, 6),
        ("spark://host:7077", {"spark.executor.instances": "3"}, None),
        ("spark://host:7077", {"spark.executor.instances": "3", "spark.executor.cores": "2"}, 6),
        ("yarn", {}, None),
    ],
)
def test_promised_slots(master, settings, slots):
    context = SimpleNamespace(master=master, getConf=lambda: settings)
    assert promised_slots(context) == slots
    assert task_cpus(context) == int(settings.get("spark.task.cpus", 1))


@pytest.mark.parametrize(
    ("master", "settings", "tasks"),
    [
        ("local-cluster[3, 5, 1024]", {"spark.task.cpus": "2"}, 6),  # all executors are on this machine
        ("yarn", {"spark.executor.cores": "4", "spark.task.cpus": "2"}, 2),
        ("yarn", {}, 1),
        ("spark://host:7077", {"spark.executor.cores": "2"}, 2),
        ("spark://host:7077", {}, None),  # as many as the machine has
    ],
)
def test_tasks_of_a_machine(master, settings, tasks):
    assert tasks_of_a_machine(SimpleNamespace(master=master, getConf=lambda: settings)) == tasks


@pytest.mark.parametrize(("value", "on"), [("true", True), (" True ", True), ("false", False), ("1", False)])
def test_switches(value, on):
    assert is_on(SimpleNamespace(getConf=lambda: {"a": value}), "a") == on
    assert not is_on(SimpleNamespace(getConf=lambda: {}), "a")
