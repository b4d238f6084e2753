"""What the documentation says is true: its code runs, its commands parse, its settings and links exist."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from jsonschema import validate

from sciflow.cli import _parser
from sciflow.errors import InputError
from sciflow.pipeline.config import load_config

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: By the name of their pages: what settings may belong to.
STUDIES = {
    "": ["ala2"],
    "proteins": ["backbones", "pocket_peptides"],
    "sequences": ["trna", "sequence_family", "motif_dna", "peptide_sequences", "toy_simplex", "promoter", "enhancer"],
}
EXAMPLES = ("ala2", "backbones", "pocket_peptides", "motif_dna")  # what a command without study= may belong to
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name(value: object) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value).splitlines()[0][:70]


def blocks(language: str) -> list[str]:
    return [text for page in PAGES for kind, text in BLOCK.findall(page.read_text()) if kind == language]


def commands(program: str) -> list[list[str]]:
    """Arguments of every printed call of a program, by its name or by ``-m``."""
    lines = [line for text in blocks("sh") for line in text.replace("\\\n", " ").splitlines()]
    words = [["-m", *shlex.split(line, comments=True)] for line in lines]
    calls = [(line, i + 2) for line in words for i in range(len(line) - 1) if line[i : i + 2] == ["-m", program]]
    return [line[start:] for line, start in calls]


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Printed commands are run from the root of the project."""
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("code", blocks("python"), ids=name)
def test_python_runs(code: str) -> None:
    exec(compile(code, "documentation", "exec"), {"__name__": "documentation"})


@pytest.mark.parametrize("args", commands("sciflow"), ids=" ".join)
def test_sciflow_commands_parse(args: list[str]) -> None:
    parsed = _parser(args[0]).parse_intermixed_args(args[1:])
    settings = getattr(parsed, "overrides", [])
    studies = [s.removeprefix("study=") for s in settings if s.startswith("study=")]
    settings = [s for s in settings if not s.startswith("study=")]
    refused = []
    for study in studies or EXAMPLES:
        try:
            load_config(study, settings)
            return
        except InputError as error:
            refused.append(error)
    raise refused[0]


@pytest.mark.parametrize("args", commands("snakemake"), ids=" ".join)
def test_snakemake_commands_name_files_that_exist(args: list[str]) -> None:
    named = [args[i + 1] for i, arg in enumerate(args) if arg in ("-s", "--configfile", "--profile")]
    assert named
    assert all(Path(file).exists() for file in named if file != "my_runs.yaml"), named


@pytest.mark.parametrize("args", commands("make"), ids=" ".join)
def test_make_targets_exist(args: list[str]) -> None:
    assert re.search(rf"^{args[0]}:", Path("Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("text", [text for text in blocks("yaml") if "runs:" in text], ids=range(3))
def test_lists_of_runs_are_valid(text: str) -> None:
    content = yaml.safe_load(text)
    validate(content, yaml.safe_load(Path("workflows/config/schema.yaml").read_text()))
    for run in content["runs"].values():
        assert run.get("data", next(iter(content["runs"]))) in content["runs"]
        load_config(run["study"], run["overrides"])


@pytest.mark.parametrize("about", ["", "proteins", "sequences"])
def test_settings_that_the_text_names_exist(about: str) -> None:
    pages = [page for page in PAGES if next((room for room in STUDIES if room and room in page.stem), "") == about]
    trees = [load_config(study).tree for study in STUDIES[about]]
    sections = [{**tree, **tree["study"]} for tree in trees]
    named = {key for page in pages for key in re.findall(r"`(\w+\.\w+)(?:=[^`]*)?`", page.read_text())}
    files = (".safetensors", ".csv", ".png", ".json", ".yaml", ".py")
    settings = [key.split(".") for key in sorted(named) if key.split(".")[0] in sections[0] and not key.endswith(files)]
    assert settings
    for section, key in settings:
        assert any(key in (tree.get(section) or {}) for tree in sections), f"{section}.{key}"


@pytest.mark.parametrize("override", ["trainer.step=4000", "lr=high", "steps=100"])
def test_printed_errors_are_those_of_the_program(override: str) -> None:
    printed = re.findall(r"^\| `(.*?)` \|", Path("docs/pipeline.md").read_text(), re.MULTILINE)
    with pytest.raises(InputError) as caught:
        load_config("ala2", [override])
    assert any(str(caught.value).startswith(line.rstrip("… ")) for line in printed), caught.value


def test_every_dependency_has_its_reason() -> None:
    wanted = tomllib.loads(Path("pyproject.toml").read_text())["project"]["dependencies"]
    table = Path("docs/design.md").read_text().partition("## Dependencies")[2]
    explained = [
        package for row in re.findall(r"^\| ([a-z][\w, -]*) \|", table, re.MULTILINE) for package in row.split(", ")
    ]
    assert sorted(set(explained) - {"package"}) == sorted(re.split(r"[<>=!\[]", line)[0] for line in wanted)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        file, _, anchor = target.partition("#")
        if file.startswith("http"):
            continue
        path = page.parent / file if file else page
        assert path.exists(), f"{page.name} links to {target}"
        titles = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE) if anchor else []
        slugs = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
        assert not anchor or anchor in slugs, f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_number_is_filled_in(page: Path) -> None:
    assert not re.findall(r"\{\{\w+\}\}", page.read_text())
