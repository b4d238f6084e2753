"""A configuration says what was meant, or one line that says what was wrong."""

from importlib import resources
from pathlib import Path

import pytest
import yaml

from sciflow.errors import InputError
from sciflow.pipeline.config import load_config, options, read_config


def test_a_key_of_the_study_goes_before_one_of_the_sampler() -> None:
    config = load_config("peptide", ["temperature=310"])
    assert config.study.temperature == 310.0  # type: ignore[attr-defined]
    assert config.sampler.temperature is None
    with pytest.raises(InputError, match=r"steps is in 2 sections: say trainer\.steps or sampler\.steps"):
        load_config("peptide", ["steps=3"])


def test_keys_find_their_section(gaussian: str) -> None:
    config = load_config(gaussian, ["n=7", "data.rows=9", "lr=0.5", "sampler.batch_size=3", "seed=4"])
    assert (config.sampler.n, config.trainer.lr, config.sampler.batch_size) == (7, 0.5, 3)
    assert config.study.data.rows == 9
    assert config.study.seed == config.seed == 4


def test_later_overrides_win(gaussian: str) -> None:
    assert load_config(gaussian, ["n=7", "sampler.n=8"]).sampler.n == 8


@pytest.mark.parametrize("name", ["my data.csv", "a,b.csv", "x=y.csv", "(1).csv", "C:\\x.csv", "~/ü.csv"])
def test_file_names_need_no_quotes(gaussian: str, name: str) -> None:
    assert load_config(gaussian, [f"data.path={name}"]).study.data.path == Path(name)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("sampler.nn=3", r"unknown key 'sampler\.nn': did you mean 'n'\?; sampler has: n, batch_size"),
        ("learning=3", r"unknown key 'learning'.*trainer: steps, batch_size, lr"),
        ("dat.path=x", r"unknown key 'dat\.path': did you mean 'data'"),
        ("data.pth=x", r"unknown key 'study\.data\.pth': did you mean 'path'"),
        ("trainer.lr=fast", r"trainer\.lr='fast': expected float"),
        ("n=2.5", r"sampler\.n=2\.5: expected int, such as sampler\.n=1000"),
        ("n=", r"sampler\.n='': expected int"),
        ("n=1,2", r"sampler\.n='1,2': expected int"),
        ("seed=one", r"seed='one': expected int"),
        ("seed=-1", r"^seed=-1 must be 0 or more$"),
        ("seed=null", r"^seed=None must be 0 or more$"),
        ("data=3", r"study\.data is a section; set one of its keys: path, rows"),
        ("n.x=3", r"sampler\.n is a value"),
        ("batch_size=3", r"say trainer\.batch_size or sampler\.batch_size"),
        ("n", r"write key=value"),
        ("study.seed=3", r"unknown key 'study\.seed'"),
        ("n=0", r"sampler\.n=0 must be at least 1"),
        ("model=mlp", r"unknown model 'mlp'"),
    ],
)
def test_mistakes_are_one_line(gaussian: str, override: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        load_config(gaussian, [override])
    assert "\n" not in str(caught.value)


def test_a_list_is_written_in_brackets() -> None:
    with pytest.raises(InputError, match=r"expected a list, such as study\.forcefield=\[amber14\.xml\]"):
        load_config("ala2", ["forcefield=amber14.xml"])


def test_unknown_studies_name_the_known_ones() -> None:
    with pytest.raises(InputError, match=f"study is one of: {', '.join(options('study'))}"):
        load_config("nothing")
    with pytest.raises(InputError, match="no such file"):
        load_config("nothing.py")


def test_a_study_file_has_one_study(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(InputError, match="needs one dataclass with the methods prepare, dataset"):
        load_config(str(tmp_path / "empty.py"))


@pytest.mark.parametrize("wrong", ["x = (", "import torch\nimport no_such_package", "x = 1\ny = z"])
def test_an_error_in_a_study_file_names_its_line(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "mine.py").write_text(wrong)
    with pytest.raises(InputError, match=rf"mine.py, line {len(wrong.splitlines())}: \w+Error"):
        load_config(str(tmp_path / "mine.py"))


def test_a_damaged_configuration_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("study: [")
    with pytest.raises(InputError, match=r"config\.yaml: not YAML"):
        read_config(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    "text", ["text", "study: 3", "name: x\nstudy: {n: 3}", "name: x\nstudy: {_target_: a.B}\nmodel: y"]
)
def test_what_is_no_configuration_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=r"config\.yaml: not a configuration that a stage saved"):
        read_config(tmp_path / "config.yaml")


@pytest.mark.parametrize("target", ["sciflow.molecules.NoStudy", "sciflow.no_domain.Study", "Study"])
def test_a_class_that_is_not_there_is_named(tmp_path: Path, target: str) -> None:
    (tmp_path / "config.yaml").write_text(f"{{name: x, study: {{_target_: {target}}}}}")
    with pytest.raises(InputError, match=f"study={target}: .*run the earlier stage again"):
        read_config(tmp_path / "config.yaml")


def test_saved_configuration_comes_back(gaussian: str, tmp_path: Path) -> None:
    config = load_config(gaussian, ["data.path=my file.csv", "n=7"])
    config.save(tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml").tree == config.tree
    assert read_config(tmp_path / "config.yaml", ["n=8"]).sampler.n == 8
    with pytest.raises(InputError, match="chooses the model before training"):
        read_config(tmp_path / "config.yaml", ["model=mlp"])


def domains(group: str) -> dict[str, str]:
    """Name and domain of each shipped study or model; a study that only varies another has that one's."""
    folder = resources.files("sciflow.conf") / group
    trees = {name: yaml.safe_load((folder / f"{name}.yaml").read_text()) for name in options(group)}

    def target(name: str) -> str:
        section = trees[name].get(group, {})
        bases = [base for base in trees[name].get("defaults", []) if isinstance(base, str)]
        return section["_target_"].split(".")[1] if "_target_" in section else target(bases[0])

    return {name: target(name) for name in trees}


STUDIES, MODELS = domains("study"), domains("model")


@pytest.mark.parametrize("study", STUDIES)
def test_shipped_studies_compose_with_the_models_of_their_domain(study: str) -> None:
    assert load_config(study).study.architecture is not None
    for model in (model for model, domain in MODELS.items() if domain == STUDIES[study]):
        config = load_config(study, [f"model={model}"])
        assert type(config.study.architecture).__name__.lower() == model.replace("_", "")


def test_a_model_of_another_domain_is_named() -> None:
    says = r"model=spline_flow is of sciflow\.molecules, and study earth of sciflow\.geometry"
    with pytest.raises(InputError, match=says):
        load_config("earth", ["model=spline_flow"])


def test_another_model_brings_its_own_settings() -> None:
    own, other = load_config("dw4"), load_config("dw4", ["model=vector_flow"])
    assert own.tree["study"] == other.tree["study"]
    for section in ("model", "trainer", "sampler"):
        assert other.tree[section] == load_config("double_well").tree[section] != own.tree[section]


def test_settings_without_default_are_asked_for(gaussian: str, tmp_path: Path) -> None:
    text = Path(gaussian).read_text().replace("    data: Table =", "    needed: int\n    data: Table =")
    (tmp_path / "study.py").write_text(text)
    with pytest.raises(InputError, match=r"study\.needed has no value"):
        load_config(str(tmp_path / "study.py"))
    assert load_config(str(tmp_path / "study.py"), ["needed=3"]).study.needed == 3
