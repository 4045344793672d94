"""Ranks as processes of this machine, each with an environment of its own: a launcher without Spark."""

import multiprocessing
import os

from caffeonspark.launchers.base import Launcher, RunningRanks
from caffeonspark.ranks.rank import run_rank


def in_process(job, secret, rank, hosts, before):
    """A rank; ``before`` is called first, as a function that ran in a worker before."""
    if before is not None:
        before()
    run_rank(job, secret, rank, hosts, [], iter(()))


class ProcessRanks(Launcher):
    """Starts a process for each environment.

    Parameters
    ----------
    environments : variables of each rank's process
    before : called first in each process, or None
    """

    driver_host = bind_host = "127.0.0.1"

    def __init__(self, environments, before=None, fresh=False):
        self.environments, self.before, self.fresh = environments, before, fresh

    def start(self, job, secret):
        spawn = multiprocessing.get_context("spawn")
        hosts = ["127.0.0.1"] * job.ranks
        processes = []
        before = dict(os.environ)
        try:
            for rank, environment in enumerate(self.environments):
                os.environ.update(environment)
                processes.append(spawn.Process(target=in_process, args=(job, secret, rank, hosts, self.before)))
                processes[-1].start()
        finally:
            os.environ.clear()
            os.environ.update(before)
        return _Processes(processes)

    def replace(self, executors):
        raise AssertionError("there are no executors")


class _Processes(RunningRanks):
    def __init__(self, processes):
        self.processes = processes

    @property
    def running(self):
        return any(process.is_alive() for process in self.processes)

    def executors(self):
        return {}

    def end(self, patience):
        for process in self.processes:
            process.join(30)
            if process.is_alive():
                process.kill()
        return []
