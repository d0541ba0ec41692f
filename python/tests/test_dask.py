"""A sweep on a cluster of three worker processes on the loopback address, one of which is killed midway."""

import os
import signal
import subprocess
import sys
import time

import pytest

distributed = pytest.importorskip("distributed")

SHARDS, KILL_AT = 30, 8


@pytest.fixture
def cluster(tmp_path):
    """A scheduler's address and its three workers, ended by id."""
    processes = []

    def start(*words):
        process = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=tmp_path,
        )
        processes.append(process)
        return process

    address_file = tmp_path / "scheduler.json"
    start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(address_file))
    deadline = time.monotonic() + 60
    while not address_file.exists():
        assert time.monotonic() < deadline, "the scheduler does not start"
        time.sleep(0.1)
    options = ["--host", "127.0.0.1", "--nthreads", "1", "--nworkers", "1", "--no-nanny", "--no-dashboard"]
    workers = [
        start("worker", "--scheduler-file", str(address_file), *options, "--local-directory", str(tmp_path / f"w{i}"))
        for i in range(3)
    ]
    yield address_file, workers
    for process in reversed(processes):
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_a_cluster_that_loses_a_worker_comes_to_the_bytes_of_one_process(scenario, cluster, tmp_path):
    import evenkeel.dask

    address_file, workers = cluster
    options = {"set": {"duration": "10min", "replications": 15}}
    seen = {}

    def kill_one(shard, count):
        index, runs, digest = shard
        seen[index] = (runs, digest)
        if count == KILL_AT:
            os.kill(workers[1].pid, signal.SIGKILL)
            workers[1].wait()

    with distributed.Client(scheduler_file=str(address_file)) as client:
        client.wait_for_workers(3, timeout=60)
        swept = evenkeel.dask.sweep(client, scenario, out=tmp_path / "cluster", shards=SHARDS, done=kill_one, **options)
        assert len(client.scheduler_info()["workers"]) == 2
    assert workers[1].returncode == -signal.SIGKILL
    assert sorted(seen) == list(range(SHARDS))
    assert sum(runs for runs, _ in seen.values()) == 4 * 2 * 15
    alone = evenkeel.sweep(scenario, out=tmp_path / "alone", **options)
    for name in ("sweep.parquet", "sweep.csv"):
        assert (tmp_path / "cluster" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert swept.table.parquet == alone.table.parquet


def test_mistakes_are_told_before_anything_is_sent(scenario, tmp_path):
    import evenkeel.dask

    scenario.write_text(scenario.read_text().replace("round_robin", "round_robbin"))
    with pytest.raises(evenkeel.ScenarioError, match="round_robin"):
        evenkeel.dask.sweep(None, scenario, out=tmp_path / "out", shards=3)
