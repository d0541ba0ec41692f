"""Evenkeel: how uneven does the load of a web cluster get, and who gets logged out?

Each function does what the command of its name does, and gives what it found in place of printing it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Union

from . import _native
from ._errors import EvenkeelError, IncompleteSweep, InternalError, Mistake, NothingRan, ScenarioError, UsageError, call
from ._results import Advised, Baseline, Checked, Compared, Fitted, Planned, Result, Swept, Table

__all__ = [
    "Advised",
    "Baseline",
    "Checked",
    "Compared",
    "EvenkeelError",
    "Fitted",
    "IncompleteSweep",
    "InternalError",
    "Mistake",
    "NothingRan",
    "Planned",
    "Result",
    "ScenarioError",
    "Swept",
    "Table",
    "UsageError",
    "advise",
    "baseline",
    "baseline_write",
    "check",
    "compare",
    "explain",
    "fit",
    "list_balancers",
    "list_metrics",
    "list_presets",
    "list_stores",
    "list_tiers",
    "plan",
    "replay",
    "run",
    "sweep",
]
__version__ = _native.__version__

StrPath = Union[str, "os.PathLike[str]"]
Progress = Callable[[float], object]
"""Is called with the share that is done, from 0 to 1; what it raises ends the work."""
Changes = Mapping[str, Any] | Sequence[str] | None
"""Fields of the scenario and their values, or texts such as ``"replications=40"``."""
Grid = Mapping[str, Sequence[Any]] | Sequence[str] | None
"""Fields and the values that each goes through, or texts such as ``"population.homes.clients=[1000, 2000]"``."""


def run(
    scenario: StrPath,
    *,
    set: Changes = None,
    seed: int | None = None,
    threads: int | None = None,
    out: StrPath | None = None,
    explain_losses: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Runs every strategy of a scenario in every replication.

    ``set`` changes fields, such as ``{"population.homes.clients": 2000}``; ``out`` is the result folder to write, if any;
    ``explain_losses`` tells so many lost sessions of each strategy as stories. The result depends on the seed alone, not on
    ``threads``, which are one for each core by default.

    Raises ``ScenarioError`` for mistakes in the scenario, ``UsageError`` for what else can be mended.
    """
    words = _words("run", [scenario], _changes(set), seed=seed, threads=threads, out=out, explain_losses=explain_losses)
    return _result(words, out, progress)


def replay(
    *logs: StrPath,
    scenario: StrPath,
    log_format: str | None = None,
    sessions_by: str | None = None,
    visit_gap: str | None = None,
    forwarded: bool = False,
    since: str | None = None,
    until: str | None = None,
    pseudonymise: StrPath | None = None,
    speed: float | None = None,
    keep_duration: bool = False,
    set: Changes = None,
    seed: int | None = None,
    threads: int | None = None,
    out: StrPath | None = None,
    explain_losses: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Runs a scenario's strategies under access logs in place of its own traffic.

    ``since`` and ``until`` are times such as ``2016-02-20T00:00:00Z``; the options are those of ``evenkeel replay``.
    """
    words = _words(
        "replay",
        logs,
        _changes(set),
        scenario=scenario,
        log_format=log_format,
        sessions_by=sessions_by,
        visit_gap=visit_gap,
        forwarded=forwarded,
        **{"from": since},
        until=until,
        pseudonymise=pseudonymise,
        speed=speed,
        keep_duration=keep_duration,
        seed=seed,
        threads=threads,
        out=out,
        explain_losses=explain_losses,
    )
    return _result(words, out, progress)


def check(
    *scenarios: StrPath,
    baseline: StrPath | None = None,
    max_replications: int | None = None,
    allow_inconclusive: bool = False,
    fail_fast: bool = False,
    set: Changes = None,
    seed: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Checked:
    """Runs scenarios, or folders of them, and judges their expectations, and how they stand to a baseline.

    Raises ``NothingRan`` if there is nothing to check: no verdict is no pass.
    """
    words = _words(
        "check",
        scenarios,
        _changes(set),
        baseline=baseline,
        max_replications=max_replications,
        allow_inconclusive=allow_inconclusive,
        fail_fast=fail_fast,
        seed=seed,
        threads=threads,
    )
    exit_code, verdicts, text, markdown = call(_native.check_scenarios, words, progress)
    if exit_code == NothingRan.exit_code:
        raise NothingRan(f"{text.rstrip()}\n  add an `[[expect]]`, or give a `baseline`")
    return Checked(exit_code, json.loads(verdicts)["scenarios"], markdown, text)


def baseline_write(
    *scenarios: StrPath,
    out: StrPath,
    metrics: Sequence[str] = (),
    tolerance: float | None = None,
    set: Changes = None,
    seed: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Baseline:
    """Runs scenarios, or folders of them, and writes what they come to into the file ``out``, for ``check(..., baseline=out)``.

    ``metrics`` are kept instead of the headlines and what ``[[expect]]`` names: any that ``list_metrics()`` has, and any quantile,
    such as ``latency.p97.5``. ``tolerance`` is how much worse each value may become, in per cent of it; 5 by default.
    """
    words = _words(
        "baseline",
        scenarios,
        ["write", *_metrics(metrics), *_changes(set)],
        out=out,
        tolerance=tolerance,
        seed=seed,
        threads=threads,
    )
    return _baseline(Path(out), call(_native.write_baseline, words, progress))


def baseline(file: StrPath) -> Baseline:
    """The baseline that ``baseline_write`` or ``evenkeel baseline write`` has written into a file."""
    return _baseline(Path(file), call(_native.read_baseline, os.fspath(file)))


def compare(
    first: StrPath,
    second: StrPath,
    *,
    metrics: Sequence[str] = (),
    set: Changes = None,
    seed: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Compared:
    """Says what the second of two scenarios, result folders or baselines of one scenario does otherwise than the first.

    Scenarios are run, with ``set`` and ``seed`` on both sides, and so are those of result folders. Where both meet the same clients
    differences are taken replication by replication. ``metrics`` as for :func:`baseline_write`.

    Raises ``UsageError`` if the two have no strategy, metric and phase in common.
    """
    words = _words("compare", [first, second], _metrics(metrics) + _changes(set), seed=seed, threads=threads)
    differences, text, parquet, is_worse = call(_native.compare_sides, words, progress)
    return Compared(json.loads(differences), is_worse, Table("compared", parquet), text)


def advise(
    scenario: StrPath,
    *,
    exhaustive: bool = False,
    set: Changes = None,
    seed: int | None = None,
    threads: int | None = None,
    out: StrPath | None = None,
    progress: Progress | None = None,
) -> Advised:
    """Chooses among a scenario's strategies at every value of the fields of its ``[advise]``.

    Candidates that another surely beats drop out early, unless ``exhaustive``. ``out`` is a folder to draw the front into.

    Raises ``UsageError`` if there is nothing to choose.
    """
    words = _words("advise", [scenario], _changes(set), exhaustive=exhaustive, seed=seed, threads=threads, out=out)
    advice, text, parquet, charts = call(_native.advise_on, words, progress)
    advice = json.loads(advice)
    choice = next((candidate for candidate in advice["candidates"] if candidate["chosen"]), None)
    files = [Path(file) for file in charts]
    return Advised(choice, advice["candidates"], advice["runs"], Table("advice", parquet), files, text)


def plan(
    scenario: StrPath,
    *,
    grid: Grid = None,
    set: Changes = None,
    seed: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Planned:
    """Says how many runs a sweep has, how long they take here with so many ``threads``, and how large the result is.

    Two runs are carried out to tell the time. ``grid`` as for :func:`sweep`.
    """
    words = _words("plan", [scenario], _changes(set) + _grid(grid), seed=seed, threads=threads)
    planned, text = call(_native.plan_sweep, words, progress)
    return Planned(**json.loads(planned), text=text)


def sweep(
    scenario: StrPath,
    *,
    grid: Grid = None,
    shard: tuple[int, int] | None = None,
    resume: bool = False,
    merge: bool = False,
    set: Changes = None,
    seed: int | None = None,
    threads: int | None = None,
    out: StrPath | None = None,
    progress: Progress | None = None,
) -> Swept:
    """Runs a scenario at every point of its ``[sweep]``, and of ``grid``: fields and their values, or texts such as
    ``"population.homes.clients=[1000, 2000]"``. With ``precision`` in the scenario each point has as many replications as it takes.

    ``shard=(i, n)`` carries out the i-th of n shards only, from 0, and ``merge`` puts all together. Runs are noted in ``out``
    (by default ``results/`` and the scenario's name with ``-sweep``) as they are done; ``resume`` goes on with them.

    Raises ``IncompleteSweep`` if shards are missing from a merge.
    """
    words = _words(
        "sweep",
        [scenario],
        _changes(set) + _grid(grid),
        shard=None if shard is None else f"{shard[0]}/{shard[1]}",
        resume=resume,
        merge=merge,
        seed=seed,
        threads=threads,
        out=out,
    )
    done, files = call(_native.sweep_scenario, words, progress)
    part, runs, known = done or (None, 0, 0)
    return Swept(None if part is None else Path(part), runs, known, [Path(file) for file in files])


def fit(
    *logs: StrPath,
    out: StrPath,
    log_format: str | None = None,
    sessions_by: str | None = None,
    visit_gap: str | None = None,
    forwarded: bool = False,
    since: str | None = None,
    until: str | None = None,
    pseudonymise: StrPath | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Fits a population to access logs and writes it to ``out``, with users and charts beside it."""
    words = _words(
        "fit",
        logs,
        [],
        out=out,
        log_format=log_format,
        sessions_by=sessions_by,
        visit_gap=visit_gap,
        forwarded=forwarded,
        **{"from": since},
        until=until,
        pseudonymise=pseudonymise,
    )
    statistics, inferred, goodness, files = call(_native.fit_logs, words, progress)
    return Fitted(Path(out), dict(statistics), inferred, goodness, [Path(file) for file in files])


def explain(scenario: StrPath, *, set: Changes = None, seed: int | None = None) -> str:
    """A scenario with every default filled in, as TOML."""
    return call(_native.explain_scenario, _words("explain", [scenario], _changes(set), seed=seed))


def list_balancers() -> list[dict[str, Any]]:
    """What `balancer` of a strategy can be."""
    return _listed("balancers")


def list_tiers() -> list[dict[str, Any]]:
    """What else a tier can have."""
    return _listed("tiers")


def list_presets() -> list[dict[str, Any]]:
    """What populations can be made of."""
    return _listed("presets")


def list_stores() -> list[dict[str, Any]]:
    """What `session` of a strategy can be."""
    return _listed("stores")


def list_metrics() -> list[dict[str, Any]]:
    """What is measured."""
    return _listed("metrics")


def _listed(what: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(_native.list_all())[what]
    return listed


def _result(words: list[str], out: StrPath | None, progress: Progress | None) -> Result:
    summary, text, scenario, tables = call(_native.run_scenario, words, progress)
    return Result(
        summary=json.loads(summary),
        tables={name: Table(name, parquet) for name, parquet in tables.items()},
        scenario=scenario,
        folder=None if out is None else Path(out),
        text=text,
    )


def _words(command: str, files: Sequence[StrPath], more: list[str], **options: object) -> list[str]:
    """The command line: what is ``None`` or false is left out."""
    words = [command, *more]
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            words.append(f"{flag}={os.fspath(value) if isinstance(value, os.PathLike) else value}")
    return [*words, "--", *(os.fspath(file) for file in files)]


def _changes(changes: Changes, flag: str = "set") -> list[str]:
    if changes is None:
        return []
    if isinstance(changes, str):
        raise TypeError(f"`{flag}` is a mapping of fields to values, or a list of texts, got the text {changes!r}")
    if isinstance(changes, Mapping):
        changes = [f"{name}={_toml(value)}" for name, value in changes.items()]
    return [f"--{flag}={change}" for change in changes]


def _grid(grid: Grid) -> list[str]:
    if isinstance(grid, Mapping):
        grid = {name: list(values) for name, values in grid.items()}
    return _changes(grid, "grid")


def _metrics(names: Sequence[str]) -> list[str]:
    if isinstance(names, str):
        raise TypeError(f"`metrics` is a list of names, got the text {names!r}")
    return [f"--metric={name}" for name in names]


def _baseline(file: Path, found: tuple[str, bytes]) -> Baseline:
    kept, parquet = found
    return Baseline(file, json.loads(kept)["scenarios"], Table("baseline", parquet))


def _toml(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(name)} = {_toml(item)}" for name, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, (int, float)):
        return repr(value)
    if hasattr(value, "item"):  # a number of numpy's
        return _toml(value.item())
    raise TypeError(f"a field of a scenario cannot be a {type(value).__name__}, got {value!r}")
