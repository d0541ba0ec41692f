"""The other commands: check, sweep, fit, replay."""

import pytest

import evenkeel

LOG = "".join(
    f'192.0.2.{user} - - [12/Feb/2026:10:{minute:02}:{second:02} +0000] "GET /page{user} HTTP/1.1" 200 512 "-" "Browser/{user}"\n'
    for minute in range(20)
    for second, user in enumerate(range(1, 40))
)


@pytest.fixture
def log(tmp_path):
    file = tmp_path / "access.log"
    file.write_text(LOG)
    return file


def test_a_check_is_true_if_all_is_met_and_false_if_not(expecting):
    met = evenkeel.check(expecting(1.5))
    assert met and [verdict["verdict"] for verdict in met.verdicts] == ["pass"]
    worse = evenkeel.check(expecting(0.9))
    assert not worse and worse.exit_code == 3
    assert worse.verdicts[0]["strategy"] == "120"
    assert "worse" in worse.markdown and "worse" in str(worse)
    both = evenkeel.check(expecting(1.5), expecting(0.9))
    assert not both and len(both.verdicts) == 2


def test_a_check_of_nothing_is_no_pass(scenario):
    with pytest.raises(evenkeel.NothingRan):
        evenkeel.check(scenario)


def test_shards_come_to_the_bytes_of_one_sweep(scenario, tmp_path):
    whole = evenkeel.sweep(scenario, out=tmp_path / "whole")
    assert whole.runs == 4 * 2 * 3
    with pytest.raises(evenkeel.IncompleteSweep, match="1/3"):
        evenkeel.sweep(scenario, shard=(0, 3), out=tmp_path / "parts")
        evenkeel.sweep(scenario, merge=True, out=tmp_path / "parts")
    parts = [evenkeel.sweep(scenario, shard=(i, 3), out=tmp_path / "parts") for i in (2, 1, 0)]
    # The first was there.
    assert [part.known for part in parts] == [0, 0, 8]
    with pytest.raises(ValueError, match="merge"):
        parts[0].table
    merged = evenkeel.sweep(scenario, merge=True, out=tmp_path / "parts")
    assert merged.table.parquet == whole.table.parquet
    frame = whole.table.to_polars()
    assert sorted(frame["population.homes.clients"].unique()) == [20, 30, 40, 50]


def test_a_grid_adds_an_axis(scenario, tmp_path):
    rates = {"population.homes.arrivals.poisson.rate": (10.0, 20.0)}
    swept = evenkeel.sweep(scenario, grid=rates, set={"replications": 1}, out=tmp_path / "sweep")
    assert swept.runs == 4 * 2 * 2


def test_a_stopped_sweep_goes_on(scenario, tmp_path):
    class Stop(Exception):
        pass

    def stop(share):
        if share > 0.3:
            raise Stop

    # Long enough that it is stopped before it ends.
    options = {"set": {"duration": "1h"}, "threads": 1}
    with pytest.raises(Stop):
        evenkeel.sweep(scenario, out=tmp_path / "stopped", progress=stop, **options)
    resumed = evenkeel.sweep(scenario, out=tmp_path / "stopped", resume=True, **options)
    assert 0 < resumed.known < resumed.runs
    assert resumed.table.parquet == evenkeel.sweep(scenario, out=tmp_path / "whole", **options).table.parquet


def test_a_log_is_replayed_and_fitted(scenario, log, tmp_path):
    replayed = evenkeel.replay(log, scenario=scenario, sessions_by="address")
    assert replayed.metric("requests.served") == pytest.approx(LOG.count("\n"))
    fitted = evenkeel.fit(log, out=tmp_path / "site.toml")
    assert fitted.population in fitted.files and all(file.exists() for file in fitted.files)
    assert fitted.goodness and fitted.inferred
    with pytest.raises(evenkeel.UsageError, match="--sessions-by"):
        evenkeel.fit(log, out=tmp_path / "site.toml", sessions_by="shoe size")
