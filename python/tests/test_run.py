"""Running scenarios: the numbers are the program's, and nothing that a caller does goes unanswered."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import evenkeel

REPOSITORY = Path(__file__).parents[2]


def hashes(folder: Path) -> dict[str, str]:
    """What the manifest says of all files but `provenance.json`, and that it does not lie is tested where it is written."""
    return json.loads((folder / "manifest.json").read_text())["files"]


def test_a_run_gives_the_bytes_of_the_program_however_it_is_called(scenario, tmp_path):
    evenkeel.run(scenario, set={"replications": 2}, seed=3, out=tmp_path / "api", threads=1)
    arguments = ["run", str(scenario), "--set", "replications=2", "--seed", "3", "--quiet", "--out"]
    programs = {"wheel": [sys.executable, "-m", "evenkeel"]}
    # `.ci/python` names the program that cargo has built.
    if built := os.environ.get("EVENKEEL_PROGRAM"):
        programs["cargo"] = [built]
    for name, program in programs.items():
        subprocess.run([*program, *arguments, tmp_path / name], check=True, stdout=subprocess.DEVNULL, cwd=tmp_path)
        assert hashes(tmp_path / name) == hashes(tmp_path / "api"), name
        for file in ("manifest.json", "report.html", "tables/metrics.parquet"):
            assert (tmp_path / name / file).read_bytes() == (tmp_path / "api" / file).read_bytes(), (name, file)


def test_summary_and_tables_are_what_the_folder_holds(scenario, tmp_path):
    result = evenkeel.run(scenario, out=tmp_path / "result")
    assert result.summary == json.loads((tmp_path / "result/summary.json").read_text())
    for name, table in result.tables.items():
        assert table.parquet == (tmp_path / f"result/tables/{name}.parquet").read_bytes()
    assert result.scenario == (tmp_path / "result/scenario.toml").read_text()
    assert "ip_hash" in str(result)
    assert not (tmp_path / "results").exists()


def test_without_a_folder_nothing_is_written(scenario, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert evenkeel.run(scenario).folder is None
    assert sorted(tmp_path.rglob("*")) == before


def test_tables_are_taken_by_pyarrow_polars_and_pandas_with_their_types(scenario):
    import polars
    import pyarrow

    table = evenkeel.run(scenario).tables["metrics"]
    arrow, frame = pyarrow.table(table), polars.DataFrame(table)
    assert frame.equals(table.to_polars())
    assert arrow.column("mean").type == pyarrow.float64()
    assert set(frame["strategy"]) == {"ip_hash", "120"}
    assert list(table.to_pandas().columns) == frame.columns == arrow.column_names
    assert len(table.rows()) == frame.height


def test_tables_have_the_values_of_the_csv(scenario, tmp_path):
    result = evenkeel.run(scenario, out=tmp_path / "result")
    for name, table in result.tables.items():
        with (tmp_path / f"result/tables/{name}.csv").open(newline="") as file:
            written = list(csv.DictReader(file))
        rows = table.rows()
        assert len(rows) == len(written)
        for row, texts in zip(rows, written):
            for column, value in row.items():
                text = texts[column]
                assert value == (text if isinstance(value, str) else float(text) if text else None), (name, column)


def test_metrics_are_found_by_name(scenario):
    result = evenkeel.run(scenario)
    assert result.metric("load.requests.peak_to_mean", strategy="120") == pytest.approx(1.0, abs=0.01)
    assert result.metric("load.requests.peak_to_mean") > 1.0
    with pytest.raises(KeyError, match="no.such"):
        result.metric("no.such")


def test_values_keep_their_types_on_the_way_into_the_scenario(scenario):
    result = evenkeel.run(scenario, set={"title": "7", "population.homes.clients": 20, "replications": 1})
    assert result.summary["title"] == "7"
    assert "clients = 20" in result.scenario
    assert evenkeel.explain(scenario, set=["replications=1", "title=x"]).startswith('title = "x"')
    with pytest.raises(TypeError, match="mapping"):
        evenkeel.run(scenario, set="replications=1")


def test_mistakes_name_their_place(scenario):
    scenario.write_text(scenario.read_text().replace("ip_hash = {}", "iphash = {}").replace('name = "a"', 'nam = "a"'))
    with pytest.raises(evenkeel.ScenarioError) as caught:
        evenkeel.run(scenario)
    error = caught.value
    lines = scenario.read_text().splitlines()
    assert len(error.mistakes) >= 2
    assert error.file == str(scenario)
    assert lines[error.line - 1][error.column - 1 :].startswith("nam")
    nearest = [mistake.help for mistake in error.mistakes if "iphash" in mistake.message]
    assert "ip_hash" in nearest[0]
    assert error.exit_code == 2


def test_what_else_is_wrong_is_an_error_of_its_kind(scenario, tmp_path):
    with pytest.raises(evenkeel.ScenarioError, match="missing.toml"):
        evenkeel.run(tmp_path / "missing.toml")
    with pytest.raises(evenkeel.UsageError, match="--threads"):
        evenkeel.run(scenario, threads=0)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("years of work")
    with pytest.raises(evenkeel.UsageError, match="not a result folder"):
        evenkeel.run(scenario, out=tmp_path / "mine")
    with pytest.raises(evenkeel.NothingRan):
        (tmp_path / "empty.log").write_text("no line of a log\n")
        evenkeel.replay(tmp_path / "empty.log", scenario=scenario, log_format="combined")


def test_ctrl_c_ends_a_long_run_and_another_can_follow(scenario, request):
    # A shell's background job is started with SIGINT ignored, and Python then leaves it so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    long = {"duration": "100h", "replications": 50}
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        evenkeel.run(scenario, set=long)
    timer.join()
    assert evenkeel.run(scenario).summary["replications"] == 3


def test_other_threads_run_meanwhile(scenario):
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.wait(0.01):
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    seen = []

    def watch(share):
        seen.append(share)
        if len(ticks) >= 5:
            raise StopIteration("enough")

    # It would take hours; it ends when the other thread has had its turns.
    with pytest.raises(StopIteration, match="enough"):
        evenkeel.run(scenario, set={"duration": "100h", "replications": 50}, progress=watch)
    stop.set()
    thread.join()
    assert seen == sorted(seen) and all(0 < share <= 1 for share in seen)


def test_lists_name_what_scenarios_can_name():
    assert "nginx.ip_hash" in {entry["name"] for entry in evenkeel.list_balancers()}
    assert "visits.with_loss" in {entry["name"] for entry in evenkeel.list_metrics()}
    assert all([evenkeel.list_presets(), evenkeel.list_stores(), evenkeel.list_tiers()])


def test_the_program_says_who_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    called = subprocess.run([sys.executable, "-m", "evenkeel", "--version"], capture_output=True, text=True, check=True)
    assert called.stdout.strip() == f"evenkeel {evenkeel.__version__}"
    bad = subprocess.run([sys.executable, "-m", "evenkeel", "run", "missing.toml"], capture_output=True, check=False)
    assert bad.returncode == 2
