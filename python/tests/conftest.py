"""Scenarios that take a moment."""

from pathlib import Path

import pytest

SCENARIO = """\
title = "Two servers"
duration = "30s"
replications = 3
seed = 7

[[population]]
name = "homes"
clients = 50
address = { preset = "direct" }
arrivals = { poisson = { rate = 20.0 } }

[cluster]
servers = [{ name = "a", address = "10.0.0.1:80" }, { name = "b", address = "10.0.0.2:80" }]
capacity = { workers = 4, service = { exponential = { mean = "20ms" } } }

[[strategy]]
name = "ip_hash"
balancer = { nginx.ip_hash = {} }
session = { local = {} }

[[strategy]]
name = "120"                 # a name that looks like a number
balancer = { nginx.round_robin = {} }
session = { local = {} }

[sweep]
grid = [{ field = "population.homes.clients", values = [20, 30, 40, 50] }]
"""

EXPECT = """
[[expect]]
strategy = "120"
metric = "load.requests.peak_to_mean"
max = {max}
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    file = tmp_path / "two.toml"
    file.write_text(SCENARIO)
    return file


@pytest.fixture
def expecting(tmp_path: Path):
    def write(limit: float) -> Path:
        file = tmp_path / f"expect-{limit}.toml"
        file.write_text(SCENARIO + EXPECT.format(max=limit))
        return file

    return write
