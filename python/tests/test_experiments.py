"""Comparisons, baselines, advice and plans: what the program prints and writes, as values."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

import evenkeel

ADVISE = """
[advise]
fields = [{ field = "strategy.ip_hash.balancer", values = [{ nginx.ip_hash = {} }, { nginx.random = {} }] }]
minimise = ["load.requests.peak_to_mean", "latency.p97.5"]
"""


def program(*words, exit_code=0):
    """What the program prints."""
    words = [sys.executable, "-m", "evenkeel", *map(str, words), "--quiet"]
    ended = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == exit_code, words
    return ended.stdout


@pytest.fixture
def slower(scenario):
    file = scenario.with_name("slower.toml")
    file.write_text(scenario.read_text().replace("workers = 4", "workers = 1"))
    return file


@pytest.fixture
def choosing(scenario):
    scenario.write_text(scenario.read_text().replace("[sweep]", ADVISE + "\n[sweep]"))
    return scenario


def test_a_comparison_is_the_program_s(scenario, slower):
    metrics = ["latency.p97.5", "requests.served"]
    compared = evenkeel.compare(scenario, slower, metrics=metrics, set={"replications": 8})
    asked = ["compare", scenario, slower, *(f"--metric={metric}" for metric in metrics), "--set=replications=8"]
    assert compared.differences == json.loads(program(*asked, "--json"))
    assert str(compared) == program(*asked)
    assert compared.is_worse
    program(*asked, "--fail-on", "regression", exit_code=3)
    frame = compared.table.to_polars()
    assert set(frame["metric"]) == set(metrics) and set(frame["strategy"]) == {"ip_hash", "120"}
    for row, difference in zip(frame.to_dicts(), compared.differences):
        assert row["after"] == difference["after"] and row["difference_half_width"] == difference["difference"]["half_width"]
        assert row["verdict"] == difference["verdict"] and row["paired"] == "yes"


def test_nothing_is_worse_than_itself(scenario, tmp_path):
    evenkeel.run(scenario, out=tmp_path / "result")
    compared = evenkeel.compare(tmp_path / "result", scenario)
    assert not compared.is_worse
    assert {(row["difference"], row["verdict"]) for row in compared.table.rows()} == {(0.0, "alike")}


def test_a_baseline_has_the_bytes_of_the_program_and_is_kept_by_a_check(scenario, slower, tmp_path):
    written = evenkeel.baseline_write(scenario, out=tmp_path / "api.json", seed=3, tolerance=10)
    program("baseline", "write", scenario, "--out", tmp_path / "program.json", "--seed", "3", "--tolerance", "10")
    assert written.file.read_bytes() == (tmp_path / "program.json").read_bytes()
    assert written.scenarios == json.loads(written.file.read_text())["scenarios"]
    assert evenkeel.baseline(written.file) == written
    assert evenkeel.check(scenario, baseline=written.file, seed=3)
    slower.rename(scenario)
    assert not evenkeel.check(scenario, baseline=written.file, seed=3)


def test_any_quantile_can_be_kept(scenario, tmp_path):
    written = evenkeel.baseline_write(scenario, out=tmp_path / "b.json", metrics=["latency.p97.5", "latency.p12.5"])
    frame = written.table.to_pandas()
    means = frame[frame["strategy"] == "120"].groupby("metric")["mean"].first()
    assert means["latency.p12.5"] < means["latency.p97.5"]
    assert sorted(frame["replication"].unique()) == [0, 1, 2]


def test_advice_is_the_program_s(choosing, tmp_path):
    advised = evenkeel.advise(choosing, out=tmp_path / "api")
    printed = json.loads(program("advise", choosing, "--json", "--out", tmp_path / "program"))
    assert advised.candidates == printed["candidates"] and advised.runs == printed["runs"]
    assert len(advised.candidates) == 3
    assert [file.name for file in advised.charts] == ["front.svg", "front.png"]
    for file in advised.charts:
        assert file.read_bytes() == (tmp_path / "program" / file.name).read_bytes()
    chosen = {row["candidate"] for row in advised.table.rows() if row["standing"] == "chosen"}
    assert chosen == {advised.choice["name"]} and advised.choice["name"] in str(advised)
    # The choice can be run.
    evenkeel.run(choosing, set=advised.choice["set"])


def test_where_no_candidate_keeps_the_limits_there_is_no_choice(choosing):
    limits = [{"metric": "load.requests.peak_to_mean", "max": 0.5}]
    advised = evenkeel.advise(choosing, set={"advise.limits": limits})
    assert advised.choice is None and all(candidate["breaks_limit"] for candidate in advised.candidates)


def test_a_plan_has_the_runs_of_the_sweep(scenario, tmp_path):
    grid = {"population.homes.arrivals.poisson.rate": [10.0, 20.0]}
    planned = evenkeel.plan(scenario, grid=grid, threads=2)
    assert planned.points == 8 and planned.runs == 8 * 2 * 3 and not planned.at_most
    assert planned.runs == evenkeel.sweep(scenario, grid=grid, out=tmp_path / "sweep").runs
    assert f"runs          {planned.runs}\n" in str(planned)
    assert planned.time_s == pytest.approx(planned.run_s * planned.runs / 2)


def test_a_sweep_can_go_on_until_it_is_precise(scenario, tmp_path):
    loose = {"precision": "20%", "replications": 12}
    assert evenkeel.plan(scenario, set=loose).at_most
    swept = evenkeel.sweep(scenario, set=loose, out=tmp_path / "sweep")
    assert 4 * 2 * 10 <= swept.runs < 4 * 2 * 12


CALLS = {
    "compare": lambda file, **options: evenkeel.compare(file, file, **options),
    "advise": evenkeel.advise,
    "baseline_write": lambda file, **options: evenkeel.baseline_write(file, out=file.with_suffix(".json"), **options),
    "plan": evenkeel.plan,
    "sweep until precise": lambda file, **options: evenkeel.sweep(
        file, out=file.with_suffix(""), **{**options, "set": {**options.get("set", {}), "precision": "1%"}}
    ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_each_tells_where_a_mistake_is(call, choosing):
    choosing.write_text(choosing.read_text().replace("nginx.round_robin", "nginx.round_robbin"))
    with pytest.raises(evenkeel.ScenarioError, match="round_robin") as caught:
        call(choosing)
    line = choosing.read_text().splitlines()[caught.value.line - 1]
    assert caught.value.file == str(choosing)
    assert line[caught.value.column - 1 :].startswith("nginx.round_robbin")


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_each_ends_when_it_is_told_to(call, choosing):
    class Stop(Exception):
        pass

    seen = []

    def stop(share):
        seen.append(share)
        raise Stop

    # It would take hours, and says how far it has come within its first run.
    with pytest.raises(Stop):
        call(choosing, set={"duration": "1000h", "replications": 10}, progress=stop)
    assert 0 < seen[0] < 0.5


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_ctrl_c_ends_each(call, choosing, request):
    # A shell's background job is started with SIGINT ignored, and Python then leaves it so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        call(choosing, set={"duration": "1000h", "replications": 10})
    timer.join()


def test_what_else_is_wrong_is_told(scenario, tmp_path):
    with pytest.raises(evenkeel.UsageError, match="one candidate"):
        evenkeel.advise(scenario, set={"strategy": [{"name": "one", "balancer": {"nginx.random": {}}, "session": {"local": {}}}]})
    with pytest.raises(evenkeel.UsageError, match="latency.p99"):
        evenkeel.compare(scenario, scenario, metrics=["latency.p"])
    with pytest.raises(TypeError, match="list of names"):
        evenkeel.compare(scenario, scenario, metrics="latency.p99")
    (tmp_path / "empty.json").write_text("{}")
    with pytest.raises(evenkeel.UsageError, match="not a baseline"):
        evenkeel.baseline(tmp_path / "empty.json")
