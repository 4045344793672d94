#!/usr/bin/env python3
"""A real Hadoop cluster on this machine's loopback: HDFS with two DataNodes, YARN with two NodeManagers.

Each daemon is a Java process of its own with its own main class, as on a cluster of machines. The second NodeManager
has the address 127.0.0.2, so that the two are different hosts to YARN and Spark. (A NameNode takes a DataNode's
address from its connection, which is 127.0.0.1 for both.) All state is in one temporary
folder, with the daemons' process ids: ``stop`` ends exactly those, and removes the folder.
"""

import argparse
import contextlib
import errno
import getpass
import json
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from typing import Dict, Iterator, List, Optional, Tuple
from xml.sax.saxutils import escape

import jars
from jars import CannotBuild

HOSTS = ("127.0.0.1", "127.0.0.2")
NODE_MEMORY, NODE_CORES = 4096, 4  # what each NodeManager offers, MB and vcores: two of them leave 16 of 24 GB alone
PORTS = (20000, 32000)  # below those that outgoing connections take
PATIENCE = 120.0  # seconds for everything to come up

# Hadoop 3.3 opens classes that Java 17 closes.
OPEN = [
    *("java.base/java.lang", "java.base/java.util", "java.base/java.util.concurrent", "java.base/java.net"),
    *("java.base/java.nio", "java.base/sun.nio.ch", "java.base/java.io", "java.base/sun.net.dns"),
    "java.security.jgss/sun.security.krb5",
]
SMALL = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.net.preferIPv4Stack=true"]

# (name, main class, MB of heap, number of its host)
DAEMONS = (
    ("namenode", "org.apache.hadoop.hdfs.server.namenode.NameNode", 256, 0),
    ("datanode1", "org.apache.hadoop.hdfs.server.datanode.DataNode", 192, 0),
    ("datanode2", "org.apache.hadoop.hdfs.server.datanode.DataNode", 192, 0),
    ("resourcemanager", "org.apache.hadoop.yarn.server.resourcemanager.ResourceManager", 320, 0),
    ("nodemanager1", "org.apache.hadoop.yarn.server.nodemanager.NodeManager", 256, 0),
    ("nodemanager2", "org.apache.hadoop.yarn.server.nodemanager.NodeManager", 256, 1),
)

# Hadoop's own commands, for those who have no installation.
COMMANDS = {
    "hadoop": {"fs": "org.apache.hadoop.fs.FsShell", "classpath": "org.apache.hadoop.util.Classpath"},
    "hdfs": {
        "dfs": "org.apache.hadoop.fs.FsShell",
        "dfsadmin": "org.apache.hadoop.hdfs.tools.DFSAdmin",
        "fsck": "org.apache.hadoop.hdfs.tools.DFSck",
    },
    "yarn": {
        "app": "org.apache.hadoop.yarn.client.cli.ApplicationCLI",
        "application": "org.apache.hadoop.yarn.client.cli.ApplicationCLI",
        "applicationattempt": "org.apache.hadoop.yarn.client.cli.ApplicationCLI",
        "container": "org.apache.hadoop.yarn.client.cli.ApplicationCLI",
        "logs": "org.apache.hadoop.yarn.client.cli.LogsCLI",
        "node": "org.apache.hadoop.yarn.client.cli.NodeCLI",
        "queue": "org.apache.hadoop.yarn.client.cli.QueueCLI",
        "rmadmin": "org.apache.hadoop.yarn.client.cli.RMAdminCLI",
    },
}
KEEPS_ITS_NAME = ("app", "application", "applicationattempt", "container")  # ApplicationCLI reads it


class Failed(Exception):
    """The cluster cannot be started or used; the message says why."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def default_folder() -> str:
    return os.path.join(tempfile.gettempdir(), f"caffeonspark-mini-hadoop-{os.getuid()}")


# ---- processes: known by id and start time, so that a process id that was given anew is not taken for ours


def start_time(pid: int) -> Optional[str]:
    """When a process started, in the kernel's clock; None if it runs no more."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


class State:
    """What is written down of a running cluster."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.path = os.path.join(folder, "state.json")
        self.data: Dict = {"processes": {}}
        with contextlib.suppress(FileNotFoundError), open(self.path) as f:
            self.data = json.load(f)

    def save(self) -> None:
        with open(self.path + ".part", "w") as f:
            json.dump(self.data, f, indent=1)
        os.replace(self.path + ".part", self.path)

    def add(self, name: str, pid: int) -> None:
        self.data["processes"][name] = [pid, start_time(pid)]
        self.save()

    def alive(self) -> Dict[str, int]:
        """Those that run, by name."""
        found = {}
        for name, (pid, since) in self.data["processes"].items():
            if since is not None and start_time(pid) == since:
                found[name] = pid
        return found

    def end_all(self) -> None:
        """End the processes, and what the NodeManagers' containers left."""
        for number, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
            for pid in self.alive().values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            deadline = time.monotonic() + patience
            while self.alive() and time.monotonic() < deadline:
                time.sleep(0.1)
        for pid in containers(self.folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def containers(folder: str) -> List[int]:
    """The processes of YARN containers of this cluster: they work in a NodeManager's folder."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{name}/cwd").startswith(os.path.join(folder, "nodemanager")):
                    found.append(int(name))
    return found


# ---- configuration


def free_ports(count: int) -> List[int]:
    """Ports that nothing listens on, on either host."""
    found: List[int] = []
    numbers = list(range(*PORTS))
    random.shuffle(numbers)
    for port in numbers:
        with contextlib.ExitStack() as stack:
            try:
                for host in HOSTS:
                    stack.enter_context(socket.socket()).bind((host, port))
            except OSError as e:
                if e.errno == errno.EADDRNOTAVAIL:
                    raise Failed(f"{host} is no address of this machine's loopback interface") from None
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise Failed(f"no free port between {PORTS[0]} and {PORTS[1]}")


def write_xml(path: str, settings: Dict[str, object]) -> None:
    lines = ['<?xml version="1.0"?>', "<configuration>"]
    for name, value in settings.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        lines.append(f"<property><name>{name}</name><value>{escape(text)}</value></property>")
    with open(path, "w") as f:
        f.write("\n".join([*lines, "</configuration>", ""]))


def site(ports: Iterator[int], folder: str) -> Tuple[Dict, Dict, Dict]:
    """What core-site, hdfs-site and yarn-site say to everybody."""
    first = HOSTS[0]
    core = {
        "fs.defaultFS": f"hdfs://{first}:{next(ports)}",
        "hadoop.tmp.dir": os.path.join(folder, "tmp"),
        "hadoop.security.token.service.use_ip": True,
    }
    hdfs = {
        "dfs.replication": 2,
        "dfs.namenode.http-address": f"{first}:{next(ports)}",
        "dfs.namenode.name.dir": "file://" + os.path.join(folder, "namenode"),
        "dfs.namenode.safemode.extension": 0,
        "dfs.namenode.resource.du.reserved": 0,
    }
    yarn = {
        "yarn.resourcemanager.hostname": first,
        "yarn.resourcemanager.address": f"{first}:{next(ports)}",
        "yarn.resourcemanager.scheduler.address": f"{first}:{next(ports)}",
        "yarn.resourcemanager.resource-tracker.address": f"{first}:{next(ports)}",
        "yarn.resourcemanager.admin.address": f"{first}:{next(ports)}",
        "yarn.resourcemanager.webapp.address": f"{first}:{next(ports)}",
        "yarn.resourcemanager.nodemanagers.heartbeat-interval-ms": 250,
        "yarn.scheduler.minimum-allocation-mb": 256,
        "yarn.scheduler.maximum-allocation-mb": NODE_MEMORY,
        "yarn.scheduler.maximum-allocation-vcores": NODE_CORES,
        "yarn.nodemanager.resource.memory-mb": NODE_MEMORY,
        "yarn.nodemanager.resource.cpu-vcores": NODE_CORES,
        "yarn.nodemanager.vmem-check-enabled": False,  # Java 17 reserves far more than it uses
        "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": 100,
        "yarn.nodemanager.env-whitelist": "JAVA_HOME,PATH,LANG,TZ,SPARK_LOCAL_IP",
        "yarn.log-aggregation-enable": True,
        "yarn.nodemanager.remote-app-log-dir": "/tmp/logs",
    }
    return core, hdfs, yarn


def own_site(name: str, host: str, ports: Iterator[int], folder: str) -> Dict[str, object]:
    """What only one DataNode or NodeManager is told."""
    home = os.path.join(folder, name)
    if name.startswith("datanode"):
        return {
            "dfs.datanode.data.dir": "file://" + home,
            "dfs.datanode.hostname": host,
            "dfs.datanode.address": f"{host}:{next(ports)}",
            "dfs.datanode.http.address": f"{host}:{next(ports)}",
            "dfs.datanode.ipc.address": f"{host}:{next(ports)}",
        }
    return {
        "yarn.nodemanager.hostname": host,
        "yarn.nodemanager.bind-host": host,
        "yarn.nodemanager.address": f"{host}:{next(ports)}",
        "yarn.nodemanager.localizer.address": f"{host}:{next(ports)}",
        "yarn.nodemanager.webapp.address": f"{host}:{next(ports)}",
        "yarn.nodemanager.local-dirs": os.path.join(home, "local"),
        "yarn.nodemanager.log-dirs": os.path.join(home, "logs"),
    }


SCHEDULER = {
    "yarn.scheduler.capacity.root.queues": "default,training",
    "yarn.scheduler.capacity.root.default.capacity": 50,
    "yarn.scheduler.capacity.root.training.capacity": 50,
    "yarn.scheduler.capacity.root.default.maximum-capacity": 100,
    "yarn.scheduler.capacity.root.training.maximum-capacity": 100,
    "yarn.scheduler.capacity.root.default.user-limit-factor": 10,
    "yarn.scheduler.capacity.root.training.user-limit-factor": 10,
    "yarn.scheduler.capacity.maximum-am-resource-percent": 1,
    "yarn.scheduler.capacity.resource-calculator": "org.apache.hadoop.yarn.util.resource.DominantResourceCalculator",
    "yarn.scheduler.capacity.node-locality-delay": -1,
}

LOG4J = """log4j.rootLogger=INFO,console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %p %c{2}: %m%n
"""
CLIENT_LOG4J = LOG4J.replace("INFO", "WARN") + "log4j.logger.org.apache.hadoop.util.NativeCodeLoader=ERROR\n"


def write_configuration(folder: str) -> Dict[str, Dict]:
    """Write ``conf`` for clients and ``conf-NAME`` for each daemon; what core-, hdfs- and yarn-site say."""
    ports = iter(free_ports(7 + 3 * 4))
    core, hdfs, yarn = site(ports, folder)
    for name, host in [("", 0), *((daemon[0], daemon[3]) for daemon in DAEMONS)]:
        conf = os.path.join(folder, "conf" + (f"-{name}" if name else ""))
        os.makedirs(conf)
        own: Dict[str, object] = {}
        if name.startswith(("datanode", "nodemanager")):
            own = own_site(name, HOSTS[host], ports, folder)
        write_xml(os.path.join(conf, "core-site.xml"), core)
        write_xml(os.path.join(conf, "hdfs-site.xml"), {**hdfs, **(own if name.startswith("data") else {})})
        write_xml(os.path.join(conf, "yarn-site.xml"), {**yarn, **(own if name.startswith("node") else {})})
        with open(os.path.join(conf, "log4j.properties"), "w") as f:
            f.write(LOG4J if name else CLIENT_LOG4J)
        if name == "resourcemanager":
            write_xml(os.path.join(conf, "capacity-scheduler.xml"), SCHEDULER)
    return {"core": core, "hdfs": hdfs, "yarn": yarn}


def write_commands(folder: str, class_path: str, java: str) -> str:
    """Hadoop's commands in ``bin``, or the folder where an installation has them."""
    home = os.environ.get("HADOOP_HOME")
    if home:
        return os.path.join(home, "bin")
    binaries = os.path.join(folder, "bin")
    os.makedirs(binaries)
    options = " ".join([*SMALL, *opens()])
    for command, classes in COMMANDS.items():
        lines = ["#!/usr/bin/env bash", "set -euo pipefail", 'word="${1-}"', "shift || true", 'case "$word" in']
        for word, main in classes.items():
            extra = f" {word}" if word in KEEPS_ITS_NAME else ""
            lines.append(f"    {word}) main={main}; first=({extra.strip()}) ;;")
        lines.append(f'    *) echo "usage: {command} {"|".join(classes)} ..." >&2; exit 2 ;;')
        lines.append("esac")
        conf = f'"${{HADOOP_CONF_DIR:-{folder}/conf}}:"{shlex.quote(class_path)}'
        lines.append(f'exec {shlex.quote(java)} {options} -cp {conf} "$main" ${{first[@]+"${{first[@]}}"}} "$@"')
        path = os.path.join(binaries, command)
        with open(path, "w") as f:
            f.write("\n".join([*lines, ""]))
        os.chmod(path, 0o755)
    return binaries


# ---- daemons


def opens() -> List[str]:
    return [f"--add-opens={module}=ALL-UNNAMED" for module in OPEN]


def java_program() -> str:
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else shutil.which("java")
    if not java or not os.path.exists(java):
        raise Failed("Java is missing: install a Java 17 runtime, or set JAVA_HOME")
    return os.path.realpath(java)


class Cluster:
    """A cluster that is being started.

    Parameters
    ----------
    state : of the folder that it is to live in
    """

    def __init__(self, state: State) -> None:
        self.folder = state.folder
        self.state = state
        self.java = java_program()
        self.class_path = ":".join(jars.class_path())

    def environment(self, name: str, host: str) -> Dict[str, str]:
        """What a daemon sees of the environment: next to nothing of the user's, so containers find no Python of his."""
        home = os.path.join(self.folder, "home", name)
        os.makedirs(home)
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": home,
            "USER": getpass.getuser(),
            "LANG": "C.UTF-8",
            "JAVA_HOME": os.path.dirname(os.path.dirname(self.java)),
            "HADOOP_CONF_DIR": os.path.join(self.folder, f"conf-{name}"),
            "SPARK_LOCAL_IP": host,  # the containers are on the NodeManager's host
        }

    def command(self, name: str, main: str, heap: int) -> List[str]:
        class_path = f"{self.folder}/conf-{name}:{self.class_path}"
        return [self.java, f"-Xmx{heap}m", *SMALL, *opens(), "-cp", class_path, main]

    def launch(self) -> None:
        self.settings = write_configuration(self.folder)
        for part in ("logs", "tmp"):
            os.makedirs(os.path.join(self.folder, part))
        self.state.data["bin"] = write_commands(self.folder, self.class_path, self.java)
        name, main, heap, _ = DAEMONS[0]
        env = self.environment("format", HOSTS[0])
        self.wait_for_command([*self.command(name, main, heap), "-format", "-nonInteractive"], env)
        for name, main, heap, number in DAEMONS:
            with open(os.path.join(self.folder, "logs", name + ".log"), "wb") as log:
                process = subprocess.Popen(
                    self.command(name, main, heap),
                    cwd=os.path.join(self.folder, "tmp"),
                    env=self.environment(name, HOSTS[number]),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self.state.add(name, process.pid)

    def wait_for_command(self, command: List[str], env: Dict[str, str]) -> None:
        process = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        if process.returncode:
            tail = process.stdout.decode(errors="replace").strip().splitlines()[-3:]
            raise Failed("formatting HDFS failed: " + " ".join(tail))

    # ---- until it is usable

    def wait_until_usable(self) -> None:
        """Until both DataNodes and both NodeManagers are there, HDFS takes writes, and the user has a home in it."""
        deadline = time.monotonic() + PATIENCE
        missing = ""
        while time.monotonic() < deadline:
            self.check_alive()
            missing = self.missing()
            if not missing:
                break
            time.sleep(0.3)
        else:
            raise Failed(f"not usable after {PATIENCE:.0f} s: {missing}")
        for path, mode in (("/tmp", "1777"), ("/tmp/logs", "1777"), (f"/user/{getpass.getuser()}", "755")):
            self.make_folder(path, mode)

    def check_alive(self) -> None:
        alive = self.state.alive()
        for name, *_ in DAEMONS:
            if name not in alive:
                with open(os.path.join(self.folder, "logs", name + ".log"), errors="replace") as f:
                    lines = [line.strip() for line in f if "Exception" in line or " ERROR " in line]
                raise Failed(f"{name} ended: {lines[-1] if lines else 'its log says nothing'}")

    def missing(self) -> str:
        """What is not there yet, or nothing."""
        try:
            state = self.namenode("FSNamesystemState")
            safe, nodes = state["FSState"] != "Operational", state["NumLiveDataNodes"]
            if safe or nodes < 2:
                return f"{nodes} of 2 DataNodes" + (", and HDFS is in safe mode" if safe else "")
            address = self.settings["yarn"]["yarn.resourcemanager.webapp.address"]
            metrics = self.ask(f"http://{address}/ws/v1/cluster/metrics")
            active = metrics.get("clusterMetrics", metrics)["activeNodes"]  # bare where Hadoop's JSON library is shaded
            return "" if active >= 2 else f"{active} of 2 NodeManagers"
        except (OSError, ValueError, LookupError) as e:
            return f"no answer yet ({type(e).__name__}: {e})"

    def namenode(self, bean: str) -> Dict:
        address = self.settings["hdfs"]["dfs.namenode.http-address"]
        found: Dict = self.ask(f"http://{address}/jmx?qry=Hadoop:service=NameNode,name={bean}")["beans"][0]
        return found

    def ask(self, url: str, method: str = "GET") -> Dict:
        request = urllib.request.Request(url, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            found: Dict = json.load(answer)
        return found

    def make_folder(self, path: str, mode: str) -> None:
        address = self.settings["hdfs"]["dfs.namenode.http-address"]
        user = getpass.getuser()
        self.ask(f"http://{address}/webhdfs/v1{path}?op=MKDIRS&permission={mode}&user.name={user}", "PUT")


# ---- commands


def start(folder: str, owner: Optional[int]) -> int:
    state = State(folder)
    if len(state.alive()) == len(DAEMONS) + ("watcher" in state.data["processes"]):
        say(f"mini-hadoop runs already, in {folder}")
        print_use(state)
        return 0
    if os.path.isdir(folder):
        stop(folder)
    os.makedirs(folder, mode=0o700)
    state = State(folder)
    state.data = {"processes": {}}
    state.save()
    before = time.monotonic()
    try:
        cluster = Cluster(state)
        cluster.launch()
        cluster.wait_until_usable()
        if owner is not None:
            cluster.state.add("watcher", watch(folder, owner))
        cluster.state.data["web"] = {
            "HDFS": "http://" + cluster.settings["hdfs"]["dfs.namenode.http-address"],
            "YARN": "http://" + cluster.settings["yarn"]["yarn.resourcemanager.webapp.address"],
        }
        cluster.state.save()
    except BaseException as e:
        logs = os.path.join(folder, "logs")
        if isinstance(e, Failed) and os.path.isdir(logs):
            e = Failed(f"{e}. The daemons' logs are in {shutil.copytree(logs, tempfile.mkdtemp() + '/logs')}")
        stop(folder)
        raise e from None
    say(f"HDFS with 2 DataNodes and YARN with 2 NodeManagers are up after {time.monotonic() - before:.0f} s.")
    for what, address in cluster.state.data["web"].items():
        say(f"  {what}: {address}")
    say('  To use it:  eval "$(scripts/mini-hadoop start)"   To end it:  scripts/mini-hadoop stop')
    print_use(cluster.state)
    return 0


def print_use(state: State) -> None:
    """The lines for a shell, which are all that goes to standard output."""
    print(f"export HADOOP_CONF_DIR={shlex.quote(os.path.join(state.folder, 'conf'))}")
    print(f'export PATH={shlex.quote(state.data["bin"])}:"$PATH"')


def watch(folder: str, owner: int) -> int:
    """A process that ends the cluster when the process ``owner`` is gone; its id."""
    command = [sys.executable, os.path.abspath(__file__), "--dir", folder, "watch", str(owner)]
    null = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True, cwd="/").pid


def wait_for(folder: str, owner: int) -> int:
    since = start_time(owner)
    while since is not None and start_time(owner) == since:
        time.sleep(1)
    state = State(folder)
    state.data["processes"].pop("watcher", None)  # this process
    state.save()
    return stop(folder)


def stop(folder: str) -> int:
    if not os.path.isdir(folder):
        say("mini-hadoop does not run")
        return 0
    if not os.path.exists(os.path.join(folder, "state.json")) and os.listdir(folder):
        raise Failed(f"{folder} is not a folder of mini-hadoop: it stays as it is")
    State(folder).end_all()
    shutil.rmtree(folder)
    return 0


def status(folder: str) -> int:
    """Say what runs; the exit status is 0 when everything does."""
    state = State(folder)
    alive = state.alive()
    if not alive:
        print("mini-hadoop does not run")
        return 1
    for name, *_ in DAEMONS:
        print(f"{name:16} {'process ' + str(alive[name]) if name in alive else 'has ended'}")
    for what, address in state.data.get("web", {}).items():
        print(f"{what:16} {address}")
    print(f"{'folder':16} {folder}")
    return 0 if all(name in alive for name, *_ in DAEMONS) else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="mini-hadoop", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("start", "stop", "status", "watch"), metavar="start|stop|status")
    parser.add_argument("owner", nargs="?", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--dir", default=default_folder(), help="where its state is (default: %(default)s)")
    parser.add_argument("--while", dest="while_", type=int, metavar="PID", help="end it when this process is gone")
    given = parser.parse_args()
    folder = os.path.abspath(given.dir)
    try:
        if given.command == "start":
            return start(folder, given.while_)
        if given.command == "watch":
            return wait_for(folder, given.owner)
        return stop(folder) if given.command == "stop" else status(folder)
    except (CannotBuild, Failed, OSError) as e:
        say(f"mini-hadoop: {e}")
        return 1
    except KeyboardInterrupt:
        say("mini-hadoop: interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
