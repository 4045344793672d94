"""Where Hadoop's daemons come from: the installation in HADOOP_HOME, or Apache's jars from Maven Central.

The jars are of the version whose client PySpark ships, and are kept in the user's cache folder beside the
environment, made whole under a lock. Maven compares every jar with its checksum.
"""

import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
from typing import List

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "environment"))
from build import CannotBuild, Progress, cache_folder, provide

# hadoop-client-minicluster and the client jars it needs hold the daemons and all that they use, but for a logger,
# what the ResourceManager's proxy makes certificates with, and javax.xml.bind, which Java 17 has no more.
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>caffeonspark</groupId>
  <artifactId>mini-hadoop</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.hadoop</groupId>
      <artifactId>hadoop-client-minicluster</artifactId>
      <version>{version}</version>
      <exclusions>
        <exclusion><groupId>junit</groupId><artifactId>junit</artifactId></exclusion>
      </exclusions>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-reload4j</artifactId>
      <version>1.7.36</version>
    </dependency>
    <dependency>
      <groupId>org.bouncycastle</groupId>
      <artifactId>bcpkix-jdk15on</artifactId>
      <version>1.68</version>
    </dependency>
    <dependency>
      <groupId>javax.xml.bind</groupId>
      <artifactId>jaxb-api</artifactId>
      <version>2.2.11</version>
    </dependency>
    <dependency>
      <groupId>javax.activation</groupId>
      <artifactId>activation</artifactId>
      <version>1.1.1</version>
    </dependency>
  </dependencies>
</project>
"""


def spark_hadoop_version() -> str:
    """The Hadoop version whose client PySpark ships."""
    import pyspark

    jars = glob.glob(os.path.join(os.path.dirname(pyspark.__file__), "jars", "hadoop-client-api-*.jar"))
    if not jars:
        raise CannotBuild("this PySpark ships no Hadoop client, so set HADOOP_HOME to a Hadoop installation")
    found = re.search(r"hadoop-client-api-(.+)\.jar$", jars[0])
    assert found
    return found.group(1)


def class_path() -> List[str]:
    """The class path of the daemons. Raises CannotBuild."""
    home = os.environ.get("HADOOP_HOME")
    return installed(home) if home else fetched(spark_hadoop_version())


def installed(home: str) -> List[str]:
    """The jars of the Hadoop installation at ``home``, and the folders that hold its web pages."""
    share = os.path.join(home, "share", "hadoop")
    jars = []
    for part in ("common", "hdfs", "yarn"):
        jars.append(os.path.join(share, part))
        for pattern in ("lib/*.jar", "*.jar"):
            jars += sorted(glob.glob(os.path.join(share, part, pattern)))
    if not any(os.path.basename(jar).startswith("hadoop-yarn-server-nodemanager") for jar in jars):
        raise CannotBuild(f"HADOOP_HOME is {home}, which has no Hadoop daemons in share/hadoop")
    return [jar for jar in jars if not jar.endswith(("-tests.jar", "-sources.jar"))]


def fetched(version: str) -> List[str]:
    """The jars from Maven Central, fetched if the cache has not got them."""
    key = hashlib.sha256(POM.encode()).hexdigest()[:8]
    name = f"hadoop-{version}-{key}"
    folder = os.path.join(cache_folder(), name)
    if not os.path.isdir(folder):
        if not shutil.which("mvn"):
            raise CannotBuild(
                f"mvn is missing, which fetches Hadoop {version}: install Maven, or set HADOOP_HOME to a Hadoop "
                "installation"
            )
        provide(name, lambda prefix, scratch: fetch(version, prefix, scratch))
    return sorted(glob.glob(os.path.join(folder, "*.jar")))


def fetch(version: str, prefix: str, scratch: str) -> None:
    with open(os.path.join(scratch, "pom.xml"), "w") as f:
        f.write(POM.format(version=version))
    command = ["mvn", "-q", "-B", "--strict-checksums", "-f", scratch, "dependency:copy-dependencies"]
    with Progress(f"Hadoop {version}, from Maven Central", prefix):
        process = subprocess.run(
            [*command, f"-DoutputDirectory={prefix}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if process.returncode:
        text = re.sub(r"\x1b\[[\d;]*m", "", process.stdout.decode(errors="replace"))
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("[ERROR]")] or lines or ["no reason given"]
        raise CannotBuild(
            f"Hadoop {version} cannot be fetched from Maven Central, and HADOOP_HOME names no installation: "
            + errors[0].replace("[ERROR] ", "")[:300]
        )
