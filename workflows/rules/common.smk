import json
import shlex
import sys
from pathlib import Path

from sciflow import __version__, load_config
from sciflow.errors import InputError

RUNS = config["runs"]
RESULTS = config["results"]

# A prefix replaces Snakemake's own strict mode, without which `| tee` would hide that a stage failed.
STRICT = "set -euo pipefail; "
# `python` in a rule is the one that runs Snakemake, which has sciflow; in a conda environment, the one found there.
if "conda" in str(workflow.deployment_settings.deployment_method).lower():
    shell.prefix(STRICT)
else:
    shell.prefix(
        f"{STRICT}export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
    )

# An override belongs to the first stage that can depend on it: a changed one reruns that stage and what follows.
# What names no later stage may change the data. Without its section, only n is known here; write trainer.lr, not lr.
STAGES = {
    "model": "train",
    "trainer": "train",
    "sampler": "sample",
    "n": "sample",
    "evaluation": "evaluate",
}


wildcard_constraints:
    run="|".join(map(re.escape, RUNS)),


for name, run in RUNS.items():
    if run.get("data", name) not in RUNS:
        raise WorkflowError(
            f"run {name}: data: {run['data']} is not a run; runs are {', '.join(RUNS)}"
        )


for name, run in RUNS.items():  # a typo stops before any job, not when its stage starts
    try:
        load_config(run["study"], run.get("overrides", []))
    except InputError as error:
        raise WorkflowError(f"run {name}: {error}")


def stage_of(override):
    key = override.split("=")[0].removeprefix("study.")
    return STAGES.get(key.split(".")[0], "prepare")


def overrides(*stages):
    """Overrides of a run that belong to one of the stages."""

    def chosen(wildcards):
        return [
            o for o in RUNS[wildcards.run].get("overrides", []) if stage_of(o) in stages
        ]

    return chosen


def study(wildcards):
    return RUNS[wildcards.run]["study"]


def own_files(wildcards):
    """Files that a run names: its study, if that is a file, and values of overrides. Editing one reruns the run."""
    run = RUNS[wildcards.run]
    named = [run["study"], *(o.partition("=")[2] for o in run.get("overrides", []))]
    return [name for name in named if name and Path(name).is_file()]


def data_folder(wildcards):
    """The prepared data that a run uses, its own or another run's."""
    return f"{RESULTS}/{RUNS[wildcards.run].get('data', wildcards.run)}/data"


def prepared(wildcards):
    names = ["train.safetensors", "val.safetensors", "test.safetensors", "meta.json"]
    return [f"{data_folder(wildcards)}/{name}" for name in names]


def captions():
    """Captions of all figures made so far, for the report."""
    found = {}
    for run in RUNS:
        path = Path(RESULTS, run, "figures", "captions.json")
        if path.is_file():
            found[run] = json.loads(path.read_text())
    return found


config["captions"] = captions()
