"""Run many cases: a pool of processes on this machine, or Dask's workers by address.

Outcomes come back in the order of the seeds, whoever ran them and whenever they were done, so a
campaign's result does not depend on where it ran.
"""

import gc
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

from element.protocol.errors import BusError
from hil.bench.provenance import commit_of
from hil.bench.site import Paths
from hil.campaign.case import Case, draw_case
from hil.campaign.image import build_image
from hil.campaign.trial import Outcome, run_case
from hil.scenarios.model import ScenarioModel

# Cases handed out ahead of those that are done: enough to keep everybody busy, few to stop.
AHEAD = 4
PREFIX = "cellwall-campaign-"
IMAGE = "image"
POLL_S = 0.02
# Python's own 700 make the collector a twentieth of a worker's time.
YOUNG_OBJECTS_MAX = 20_000
CONNECT_S = 10


class Promise(Protocol):
    """What a pool's and a cluster's future have in common."""

    def done(self) -> bool:
        """Return True when there is a result, or never will be."""
        ...

    def result(self) -> Outcome:
        """Return it, or raise what the worker raised."""
        ...


class ClusterError(BusError):
    """A cluster that cannot be used; the text says what to do."""


def run_seed(scenario: dict[str, Any], seed: int, root: str | None = None) -> Outcome:
    """Draw and run the case of a seed; for workers. root: see `run_here`."""
    return run_here(draw_case(ScenarioModel.model_validate(scenario), seed), root)


def run_here(case: Case, root: str | None = None) -> Outcome:
    """Run a case in a folder that goes again.

    root: a folder for it with a firmware image in it; by default the system's, and one's own.
    """
    image = None if root is None else Path(root) / IMAGE
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=root) as folder:
        return run_case(case, Path(folder) / "case", image)


def _settle_worker(cores: Any) -> None:
    """Leave Ctrl-C to the one who asked; keep a worker and its boards on one core.

    A board answers a question at a time: on its host's core nobody wakes another core for it, and
    as a batch it does not take the core while its host still has questions for others.
    What is loaded by now stays to the end: the collector need not look at it again and again.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS_MAX)
    with suppress(OSError, AttributeError):
        os.sched_setaffinity(0, {cores.get(timeout=5)})
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def in_processes(scenario: ScenarioModel, seeds: range, jobs: int,
                 stopped: Callable[[], bool] = lambda: False) -> Iterator[Outcome]:
    """Yield the outcomes of seeds in order from a pool of `jobs` processes.

    stopped: looked at between outcomes; what is under way is finished or ended with its process.
    """
    context = get_context("spawn")
    cores = context.Queue()
    able = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    for number in range(jobs if able else 0):
        cores.put(able[number % len(able)])
    document = scenario.model_dump(mode="json")
    root = tempfile.mkdtemp(prefix=PREFIX)
    pool = ProcessPoolExecutor(jobs, context, _settle_worker, (cores,))
    try:
        for _ in range(jobs):
            pool.submit(os.getpid)  # they load what they need while the image is built
        build_image(Path(root) / IMAGE)
        yield from _in_order(
            lambda seed: pool.submit(run_seed, document, seed, root), seeds, jobs * AHEAD,
            stopped)
    finally:
        # whoever stops early waits for nobody: boards end with the worker they belong to
        workers = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()
        shutil.rmtree(root, ignore_errors=True)


def _in_order(submit: Callable[[int], Promise], seeds: range, ahead: int,
              stopped: Callable[[], bool]) -> Iterator[Outcome]:
    """Keep `ahead` seeds under way; yield outcomes in the order of the seeds."""
    waiting: dict[int, Promise] = {}
    todo = iter(seeds)
    for seed in seeds:
        while len(waiting) < ahead:
            following = next(todo, None)
            if following is None:
                break
            waiting[following] = submit(following)
        future = waiting.pop(seed)
        while not future.done():
            if stopped():
                return
            time.sleep(POLL_S)
        yield future.result()


def on_cluster(scenario: ScenarioModel, seeds: range, address: str,
               stopped: Callable[[], bool] = lambda: False) -> Iterator[Outcome]:
    """Yield the outcomes of seeds in order from the workers of a Dask cluster.

    Raises ClusterError when it cannot be reached, or runs other code than this.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ClusterError("Dask is not installed",
                           "\n  next: pip install 'cellwall[cluster]'") from error
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError("no Dask scheduler", f"{address}: {error}\n  next: start one with "
                           "`dask scheduler`, and `dask worker ADDRESS` on every machine"
                           ) from error
    try:
        _same_code(client.run(_code_here), address)
        document = scenario.model_dump(mode="json")
        workers = max(1, sum(client.nthreads().values()))
        yield from _in_order(
            lambda seed: client.submit(run_seed, document, seed, pure=False), seeds,
            workers * AHEAD, stopped)
    finally:
        client.close()


def _code_here() -> str:
    """Return the commit that a worker runs."""
    return commit_of(Paths.of_checkout(Path()).firmware)


def _same_code(commits: dict[str, str], address: str) -> None:
    """Raise ClusterError for a cluster without workers, or with one that runs other code."""
    if not commits:
        raise ClusterError("the cluster has no workers",
                           f"{address}\n  next: dask worker {address}")
    here = _code_here()
    for worker, commit in commits.items():
        if commit != here:
            raise ClusterError("the cluster runs other code",
                               f"worker {worker} runs commit {commit}, this is {here}\n  next: "
                               "the same commit everywhere, or results do not say what they "
                               "are of")
