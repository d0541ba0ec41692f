"""The recipes of `docs/clusters.md`, with a shell in the scheduler's place: their shards come to the bytes of one process."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import evenkeel

CLUSTERS = Path(__file__).parents[2] / "docs/clusters"
SHARDS = 3


def yaml_documents():
    yaml = pytest.importorskip("yaml")
    return list(yaml.safe_load_all((CLUSTERS / "kubernetes.yaml").read_text()))


def slurm(index: int, folder: Path) -> tuple[list[str], dict[str, str]]:
    variables = {"SLURM_ARRAY_TASK_ID": str(index), "SLURM_ARRAY_TASK_MAX": str(SHARDS - 1)}
    return ["bash", str(CLUSTERS / "slurm.sbatch"), "sweep.toml", "parts"], variables


def htcondor(index: int, folder: Path) -> tuple[list[str], dict[str, str]]:
    described = dict(
        map(str.strip, line.split("=", 1))
        for line in (CLUSTERS / "htcondor.sub").read_text().splitlines()
        if "=" in line and not line.startswith("#")
    )
    arguments = described["arguments"].replace("$(Process)", str(index)).replace("/200", f"/{SHARDS}")
    return [described["executable"], *shlex.split(arguments)], {}


def kubernetes(index: int, folder: Path) -> tuple[list[str], dict[str, str]]:
    (container,) = yaml_documents()[0]["spec"]["template"]["spec"]["containers"]
    script = container["args"][0].replace("/data", str(folder)).replace("/200", f"/{SHARDS}")
    return [*container["command"], script], {"JOB_COMPLETION_INDEX": str(index)}


@pytest.mark.parametrize("recipe", [slurm, htcondor, kubernetes])
def test_a_recipe_carries_out_every_shard(recipe, scenario, tmp_path):
    scenario.rename(tmp_path / "sweep.toml")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for index in range(SHARDS):
        words, variables = recipe(index, tmp_path)
        subprocess.run(words, check=True, cwd=tmp_path, env={**os.environ, **variables, "PATH": path})
    merged = evenkeel.sweep(tmp_path / "sweep.toml", merge=True, out=tmp_path / "parts")
    assert len(list((tmp_path / "parts").glob(f"part-*-of-{SHARDS}-*.parquet"))) == SHARDS
    assert merged.table.parquet == evenkeel.sweep(tmp_path / "sweep.toml", out=tmp_path / "alone").table.parquet


def test_the_array_s_size_is_the_number_of_shards():
    slurm_file = (CLUSTERS / "slurm.sbatch").read_text()
    assert re.search(r"^#SBATCH --array=0-199$", slurm_file, re.MULTILINE)
    condor = (CLUSTERS / "htcondor.sub").read_text()
    assert re.findall(r"/(\d+) ", condor) == re.findall(r"^queue (\d+)$", condor, re.MULTILINE)
    job = yaml_documents()[0]["spec"]
    assert f"$JOB_COMPLETION_INDEX/{job['completions']}\"" in job["template"]["spec"]["containers"][0]["args"][0]


def test_the_manifest_is_kubernetes():
    validate = pytest.importorskip("kubernetes_validate")
    (job,) = yaml_documents()
    validate.validate(job, "1.33", strict=True)
    job["spec"]["completionMod"] = job["spec"].pop("completionMode")
    with pytest.raises(validate.ValidationError):
        validate.validate(job, "1.33", strict=True)
