import json
import shlex
import sys
from pathlib import Path

from sciflow import __version__, load_config
from sciflow.errors import InputError

RUNS = config["runs"]
RESULTS = config["results"]
REFOLDED = [name for name, run in RUNS.items() if "refold" in run]

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
    "steer": "sample",
}


wildcard_constraints:
    run="|".join(map(re.escape, RUNS)),


for name, run in RUNS.items():
    for key in ("data", "pairs"):
        if run.get(key, name) not in RUNS:
            raise WorkflowError(
                f"run {name}: {key}: {run[key]} is not a run; runs are {', '.join(RUNS)}"
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


def data_run(name):
    """The run that prepared the data of a run: itself, the one it names, or that of the run whose pairs it takes."""
    run = RUNS[name]
    if "data" in run or "pairs" not in run:
        return run.get("data", name)
    return data_run(run["pairs"])


def data_folder(wildcards):
    """The prepared data that a run is sampled for and evaluated on."""
    return f"{RESULTS}/{data_run(wildcards.run)}/data"


def training_folder(wildcards):
    """What a run is trained on: prepared data, or pairs of another run's model."""
    if "pairs" in RUNS[wildcards.run]:
        return f"{RESULTS}/{wildcards.run}/pairs"
    return data_folder(wildcards)


def prepared(wildcards):
    names = ["train.safetensors", "val.safetensors", "test.safetensors", "meta.json"]
    return [f"{data_folder(wildcards)}/{name}" for name in names]


def training_data(wildcards):
    if "pairs" not in RUNS[wildcards.run]:
        return prepared(wildcards)
    names = ["pairs_train", "pairs_val", "initial"]
    folder = training_folder(wildcards)
    return [*(f"{folder}/{name}.safetensors" for name in names), f"{folder}/meta.json"]


def rectify_overrides(wildcards):
    """How pairs are drawn: as the other run draws its samples, but for `rectify` of this one."""
    run = RUNS[wildcards.run]
    sampled = [
        o for o in RUNS[run["pairs"]].get("overrides", []) if stage_of(o) == "sample"
    ]
    return [*sampled, *run.get("rectify", [])]


def backbones(wildcards):
    """The structures that the study of backbones writes beside its samples."""
    return f"{RESULTS}/{wildcards.run}/samples/samples"


def refold_command(wildcards):
    """The run's own command, with the folders that it reads and writes in the places it has for them."""
    command = RUNS[wildcards.run]["refold"]
    folders = {
        "{samples}": backbones(wildcards),
        "{folded}": f"{RESULTS}/{wildcards.run}/folded",
    }
    for place, folder in folders.items():
        command = command.replace(place, shlex.quote(folder))
    return command


def refold_files(wildcards):
    """Files that the command names, such as its script."""
    words = shlex.split(RUNS[wildcards.run]["refold"])
    return [word for word in words if Path(word).is_file()]


def captions():
    """Captions of all figures made so far, for the report."""
    found = {}
    for run in RUNS:
        path = Path(RESULTS, run, "figures", "captions.json")
        if path.is_file():
            found[run] = json.loads(path.read_text())
    return found


config["captions"] = captions()
