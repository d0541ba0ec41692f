"""Carries out a sweep on a Dask cluster: ``python -m evenkeel.dask scenario.toml --scheduler tcp://127.0.0.1:8786``.

Scenario and folder are on storage that all workers share. Every shard is a task; a worker writes its part and answers with a few
numbers. A task whose worker dies is carried out by another, which goes on with the runs that are noted. The merged result is that
of a single process, byte for byte.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import evenkeel

if TYPE_CHECKING:
    from distributed import Client


def run_shard(index: int, of: int, scenario: str, options: dict[str, Any]) -> tuple[int, int, str]:
    """Carries out a shard on a worker: its number, the runs in it, and the SHA-256 of its part."""
    swept = evenkeel.sweep(scenario, shard=(index, of), resume=True, threads=1, **options)
    if swept.part is None:
        raise RuntimeError(f"shard {index}/{of} has no part")
    return index, swept.runs, hashlib.sha256(swept.part.read_bytes()).hexdigest()


def sweep(
    client: Client,
    scenario: str | Path,
    *,
    out: str | Path,
    shards: int,
    retries: int = 3,
    done: Any = lambda shard, count: None,
    **options: Any,
) -> evenkeel.Swept:
    """Carries out a sweep by the workers of ``client`` and puts its parts together.

    ``retries`` is how often a shard is tried again that failed; one whose worker died is tried again as often as the scheduler's
    ``allowed-failures`` says. ``done`` is called with what :func:`run_shard` gave and the number of shards that are done.
    ``options`` are those of :func:`evenkeel.sweep`: ``grid``, ``set``, ``seed``.

    Mistakes in the scenario are raised here, before anything is sent.
    """
    from distributed import as_completed

    # Workers may have been started in another folder.
    scenario, out = str(Path(scenario).resolve()), str(Path(out).resolve())
    evenkeel.explain(scenario, set=options.get("set"), seed=options.get("seed"))
    options = {**options, "out": out}
    # A task is never taken for another of equal arguments: its effect is a file.
    tasks = [client.submit(run_shard, i, shards, scenario, options, pure=False, retries=retries) for i in range(shards)]
    for count, task in enumerate(as_completed(tasks), start=1):
        done(task.result(), count)
    return evenkeel.sweep(scenario, merge=True, **options)


def main(command_line: list[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m evenkeel.dask", description="Carry out a sweep on a Dask cluster.")
    parser.add_argument("scenario", help="the scenario file, on storage that the workers share")
    parser.add_argument("--scheduler", required=True, metavar="tcp://HOST:PORT", help="the cluster's scheduler")
    parser.add_argument("-o", "--out", required=True, metavar="FOLDER", help="the folder of the parts, shared likewise")
    parser.add_argument("--shards", type=int, default=100, metavar="N", help="tasks; of 5 s to 10 min each (default: 100)")
    parser.add_argument("--retries", type=int, default=3, metavar="N", help="tries more of a shard that failed (default: 3)")
    parser.add_argument("--grid", action="append", default=[], metavar="FIELD=[…]", help="as for `evenkeel sweep`")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="as for `evenkeel sweep`")
    parser.add_argument("--seed", type=int, help="as for `evenkeel sweep`")
    arguments = parser.parse_args(command_line)
    if arguments.shards < 1:
        parser.error("`--shards` must be at least 1")

    from distributed import Client

    def tell(shard: tuple[int, int, str], count: int) -> None:
        index, runs, digest = shard
        print(f"{count}/{arguments.shards}: shard {index}, {runs} runs, {digest[:12]}", file=sys.stderr, flush=True)

    try:
        with Client(arguments.scheduler) as client:
            swept = sweep(
                client,
                arguments.scenario,
                out=arguments.out,
                shards=arguments.shards,
                retries=arguments.retries,
                done=tell,
                grid=arguments.grid,
                set=arguments.set,
                seed=arguments.seed,
            )
    except evenkeel.EvenkeelError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130
    for file in swept.files:
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
