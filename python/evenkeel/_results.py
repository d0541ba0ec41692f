"""What commands come to."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow


@dataclass(frozen=True)
class Table:
    """A tidy table. Libraries that speak Arrow take it as it is: ``polars.DataFrame(table)``, ``pyarrow.table(table)``."""

    name: str
    """What it is called."""
    parquet: bytes = field(repr=False)
    """The table as a Parquet file."""

    def to_arrow(self) -> pyarrow.Table:
        """The table for pyarrow, which must be installed."""
        from pyarrow import parquet

        return parquet.read_table(io.BytesIO(self.parquet))

    def to_polars(self) -> polars.DataFrame:
        """The table for polars, which must be installed."""
        import polars

        return polars.read_parquet(self.parquet)

    def to_pandas(self) -> pandas.DataFrame:
        """The table for pandas, which must be installed, with pyarrow."""
        return self.to_arrow().to_pandas()

    def rows(self) -> list[dict[str, Any]]:
        """The rows as dictionaries; takes pyarrow or polars, whichever is installed."""
        try:
            rows: list[dict[str, Any]] = self.to_arrow().to_pylist()
        except ImportError:
            rows = self.to_polars().to_dicts()
        return rows

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        try:
            return self.to_arrow().__arrow_c_stream__(requested_schema)
        except ImportError:
            return self.to_polars().__arrow_c_stream__(requested_schema)


@dataclass(frozen=True)
class Result:
    """What running a scenario came to. ``str()`` of it is what the program prints."""

    summary: dict[str, Any] = field(repr=False)
    """All findings, as in ``summary.json``."""
    tables: Mapping[str, Table] = field(repr=False)
    """The tables of the result folder by name: ``metrics``, ``servers``, ``losses``, ``faults``, ``series``, ``latency``, …"""
    scenario: str = field(repr=False)
    """The scenario with every default filled in, as TOML."""
    folder: Path | None
    """The result folder, if one was asked for."""
    text: str = field(repr=False)
    """What the program prints."""

    def __str__(self) -> str:
        return self.text

    def metric(self, name: str, *, strategy: str | None = None, phase: str = "all") -> float | None:
        """The estimate of a metric under a strategy, by default the first; ``None`` where it is undefined.

        A result has what :func:`evenkeel.list_metrics` lists; other quantiles are kept by :func:`evenkeel.baseline_write`.

        Raises ``KeyError`` if there is no such metric, strategy or phase.
        """
        for found in self.summary["strategies"]:
            if strategy is None or found["name"] == strategy:
                for metric in found["metrics"]:
                    if (metric["metric"], metric["phase"]) == (name, phase):
                        mean: float | None = metric["value"] and metric["value"]["mean"]
                        return mean
                break
        raise KeyError(f"no metric {name!r} in phase {phase!r} of strategy {strategy!r}")


@dataclass(frozen=True)
class Checked:
    """Verdicts. True if nothing fails; ``str()`` of it is what the program prints."""

    exit_code: int
    """0 if nothing fails, else 3."""
    scenarios: list[dict[str, Any]] = field(repr=False)
    """What each scenario came to, as ``evenkeel check --json`` prints it."""
    markdown: str = field(repr=False)
    """The verdicts as Markdown."""
    text: str = field(repr=False)
    """What the program prints."""

    def __bool__(self) -> bool:
        return self.exit_code == 0

    def __str__(self) -> str:
        return self.text

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """Every verdict, with the scenario's file."""
        return [
            {"scenario": scenario["scenario"], **verdict}
            for scenario in self.scenarios
            for verdict in scenario["expectations"]
        ]


@dataclass(frozen=True)
class Compared:
    """Two experiments side by side. ``str()`` of it is what the program prints."""

    differences: list[dict[str, Any]] = field(repr=False)
    """Every strategy, metric and phase that both have, as ``evenkeel compare --json`` prints it."""
    is_worse: bool
    """Whether anything is worse: what ``--fail-on regression`` fails by."""
    table: Table = field(repr=False)
    """The same as a table: ``before``, ``after``, ``difference``, ``p``, ``verdict`` (worse, better, alike), …"""
    text: str = field(repr=False)
    """What the program prints."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Advised:
    """A choice among candidates. ``str()`` of it is what the program prints."""

    choice: dict[str, Any] | None
    """The candidate that is chosen: its ``name``, ``chosen_share``, and ``set``, which :func:`evenkeel.run` takes; ``None`` if no
    candidate keeps the limits."""
    candidates: list[dict[str, Any]] = field(repr=False)
    """Every candidate, as ``evenkeel advise --json`` prints it."""
    runs: int
    """Runs that were carried out."""
    table: Table = field(repr=False)
    """A row for each candidate and metric that decides about it."""
    charts: list[Path] = field(repr=False)
    """The front as SVG and PNG, if a folder was given and the front can be drawn."""
    text: str = field(repr=False)
    """What the program prints."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Baseline:
    """What scenarios came to, to be held against what they come to later."""

    file: Path
    """The file that holds it."""
    scenarios: list[dict[str, Any]] = field(repr=False)
    """The scenarios with their ``values``, as in the file."""
    table: Table = field(repr=False)
    """A row for what each replication contributed (``part``) to each value."""


@dataclass(frozen=True)
class Planned:
    """What a sweep would take. ``str()`` of it is what the program prints."""

    points: int
    """Points."""
    strategies: int
    """Strategies at each."""
    runs: int
    """Runs."""
    at_most: bool
    """Whether there may be fewer: with ``precision`` each point has as many as it takes."""
    threads: int
    """Threads that carry them out."""
    run_s: float
    """What a run takes [s]."""
    time_s: float
    """What all take [s]."""
    rows: int
    """Rows of the result."""
    parquet_bytes: int
    """Size of the result as Parquet, about."""
    csv_bytes: int
    """Size of the result as CSV, about."""
    text: str = field(repr=False)
    """What the program prints."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Swept:
    """What became of a sweep, or of a shard of it."""

    part: Path | None
    """The part of the shard that was carried out; ``None`` if parts were only put together."""
    runs: int
    """Runs in the part."""
    known: int
    """Those of them that were there before."""
    files: list[Path]
    """``sweep.parquet`` and ``sweep.csv``; empty unless all parts are there."""

    @property
    def table(self) -> Table:
        """All runs: a row for each run, phase and metric.

        Raises ``ValueError`` if parts have not been put together.
        """
        for file in self.files:
            if file.suffix == ".parquet":
                return Table("sweep", file.read_bytes())
        raise ValueError("this is one shard of a sweep: put all together with `sweep(..., merge=True)`")


@dataclass(frozen=True)
class Fitted:
    """A population that was fitted to logs."""

    population: Path
    """The population file, for `[[population]] users = …` of scenarios."""
    statistics: dict[str, str] = field(repr=False)
    """What was counted in the logs."""
    inferred: list[str] = field(repr=False)
    """What is not in the logs, and was inferred."""
    goodness: list[str] = field(repr=False)
    """How well each law fits."""
    files: list[Path] = field(repr=False)
    """Every file that was written."""
