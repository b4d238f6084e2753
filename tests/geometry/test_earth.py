"""Places on the earth: angles, tables as people have them, groups, figures, and the study from end to end."""

import json
import math

import numpy as np
import pytest
import torch

from sciflow.errors import InputError
from sciflow.geometry import EarthStudy, Points, Splits
from sciflow.geometry.earth import Places, unit_vectors
from sciflow.geometry.sphere_figures import directions, geographic, globes, smoothed, world
from sciflow.geometry.split import Split
from sciflow.manifolds import Sphere
from sciflow.pipeline import evaluate, load_config, prepare, sample, train
from sciflow.training import Samples

TINY = ["model.width=16", "model.depth=1", "model.fourier=4", "trainer.steps=20", "trainer.batch_size=256"]
TINY += ["trainer.precision=32-true", "n=30", "sampler.steps=3", "tolerance=0.05"]


def places(n=60, seed=0):
    """Latitudes and longitudes (n, 2) of uniform points."""
    return geographic(Sphere(2).random(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


def table(path, degrees, header="latitude,longitude"):
    path.write_text(header + "\n" + "\n".join(f"{lat},{lon}" for lat, lon in degrees))
    return path


def read(path, **data):
    return EarthStudy(data=Places(path, **data)).read(None).x


def test_angles_and_vectors_are_inverse():
    degrees = places()
    np.testing.assert_allclose(geographic(unit_vectors(degrees)), degrees, atol=1e-4)  # float32, some of it near a pole


@pytest.mark.parametrize(
    ("one", "other"), [((10, -170), (10, 190)), ((0, 180), (0, -180)), ((90, 17), (90, -60)), ((5, 0), (5, 360))]
)
def test_a_place_has_one_name(one, other):
    """However its longitude is counted, and at the poles, the point has the same digits: it is found to repeat."""
    assert (
        unit_vectors(np.array([one], float)).numpy().tobytes()
        == unit_vectors(np.array([other], float)).numpy().tobytes()
    )


@pytest.mark.parametrize(
    "header", ["LATITUDE,LONGITUDE", "latitude,longitude", "Lat,Lon", "lat,lng", "lat,long", "\ufefflat,lon"]
)
def test_the_usual_names_of_the_columns(tmp_path, header):
    degrees = places()
    torch.testing.assert_close(read(table(tmp_path / "my.csv", degrees, header)), unit_vectors(degrees))


def test_an_export_of_a_catalogue(tmp_path):
    """Other columns, quoted and not numbers, in any order."""
    path = tmp_path / "query.csv"
    path.write_text('time,latitude,longitude,mag,place\n2024-01-01T00:00:00Z,37.5,137.2,7.5,"Noto, Japan"\n,-3,40,,\n')
    np.testing.assert_allclose(geographic(read(path)), [[37.5, 137.2], [-3, 40]], atol=1e-5)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("91,0", "line 3, column latitude: 91 is not between -90 and 90"),
        ("0,361", "line 3, column longitude: 361 is not between -180 and 360"),
        ("north,0", "line 3, column latitude: 'north' is not a finite number"),
    ],
)
def test_impossible_places_are_one_line(tmp_path, row, words):
    path = tmp_path / "my.csv"
    path.write_text(f"latitude,longitude\n10,20\n{row}\n")
    with pytest.raises(InputError, match=words) as error:
        read(path)
    assert "\n" not in str(error.value)


def test_other_mistakes_are_one_line(tmp_path):
    path = tmp_path / "my.csv"
    path.write_text("x,y\n1,2\n")
    with pytest.raises(InputError, match="no column latitude or lat; give latitude, longitude; its columns are x, y"):
        read(path)
    with pytest.raises(InputError, match="use one of volcano, earthquake, fire"):
        EarthStudy(event="flood")
    with pytest.raises(InputError, match="sciflow fetch earth"):
        EarthStudy().read(tmp_path)
    with pytest.raises(InputError, match=r"data\.linked=0"):
        Places(linked=0.0)


def test_chains_of_places_are_groups(tmp_path):
    """0.04° are 4.4 km: three places in a row are one group, though its ends are 8.9 km apart; the fourth is alone."""
    path = table(tmp_path / "my.csv", [(0, 179.96), (0, 180), (0, -179.96), (0, 170), (0, 180)])
    study = EarthStudy(split=Split(by_group=True), data=Places(path, linked=5.0))
    a, b, c, far, again = study.read(None).groups
    assert a == b == c == again != far
    assert len(set(EarthStudy(split=Split(by_group=True), data=Places(path, linked=4.0)).read(None).groups)) == 4


def test_published_numbers_belong_to_the_published_split(tmp_path):
    assert EarthStudy(event="fire").published() == -1.86
    assert EarthStudy(event="fire", split=Split(unique=True)).published() is None
    assert EarthStudy(event="fire", split=Split(by_group=True)).published() is None
    assert EarthStudy(data=Places(tmp_path)).published() is None


def test_smoothed_points_are_a_density():
    """Its mean over the sphere is one, by a grid that is exact to the square of its step (2°, kernels of 10°)."""
    points = Sphere(2).random(7, generator=torch.Generator().manual_seed(0))
    longitude, latitude = np.meshgrid(np.radians(np.arange(-179, 180, 2.0)), np.radians(np.arange(-89, 90, 2.0)))
    area = np.cos(latitude)
    mean = (smoothed(points, directions(longitude, latitude), 10.0) * area).sum() / area.sum()
    assert mean == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("known", [False, True])
def test_figures_say_what_they_show(known):
    x = Sphere(2).random(40, generator=torch.Generator().manual_seed(0))
    samples = Samples(x, x[:, 0] if known else None, 1, x[:4, 1] if known else None)
    splits = Splits(x[:32], x[32:36], x[36:])
    for draw in (world, globes):
        drawing = draw(samples, splits, "fires", " Careful.")
        assert len(drawing.figure.axes) >= 3  # with the bar of colours
        assert "held-out fires" in drawing.caption or "all fires" in drawing.caption
        assert drawing.caption.endswith("Careful.")
    assert ("colour of their density" in world(samples, splits, "fires", "").caption) == known


def test_globes_look_from_opposite_sides():
    """Every point is seen on one of them, none on both."""
    from sciflow.geometry.sphere_figures import _frame

    x = Sphere(2).random(50, generator=torch.Generator().manual_seed(1))
    for points in (x, torch.tensor([[0.0, 0.0, 1.0]]), x - x.mean(0)):
        frame = _frame(points)
        np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-7)
        assert np.linalg.det(frame) == pytest.approx(1)
        assert frame[1, 2] >= 0  # north is up


def test_from_a_table_to_metrics_and_figures(tmp_path):
    path = table(tmp_path / "my.csv", np.concatenate([places(), places()[:5]]))
    config = load_config("earth", [*TINY, f"data.path={path}", "split.unique=true", "track_logq=true"])
    prepare(config, tmp_path / "data")
    meta = json.loads((tmp_path / "data" / "meta.json").read_text())
    assert meta["rows"] == {"train": 48, "val": 6, "test": 6}
    assert meta["repeated rows"] == 5
    train(config, tmp_path / "data", tmp_path / "model")
    samples = sample(config, tmp_path / "data", tmp_path / "model", tmp_path / "samples")
    assert samples.test_logp.shape == (6,)
    rows = np.loadtxt(tmp_path / "samples" / "samples.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(rows[:, :2], geographic(samples.x), rtol=1e-4)  # %.6g
    metrics = evaluate(config, tmp_path / "data", tmp_path / "samples", tmp_path).metrics
    assert metrics["nll_prior"].value == pytest.approx(math.log(4 * math.pi), abs=1e-6)
    assert metrics["nll"].floor == metrics["nll_kde_widths"].value
    assert metrics["test_rows_in_train"].value == 0
    assert {p.stem for p in (tmp_path / "figures").glob("*.png")} == {"world", "globes"}


def test_points_of_a_fetched_event(tmp_path):
    folder = tmp_path / "earth"
    folder.mkdir()
    table(folder / "volcano.csv", [(0, 0), (0, 90)], "LATITUDE,LONGITUDE")
    points = EarthStudy(event="volcano").read(tmp_path)
    assert isinstance(points, Points)
    torch.testing.assert_close(points.x, torch.tensor([[1.0, 0, 0], [0, 1, 0]]))
