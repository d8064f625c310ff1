"""Which photos a command line means: folders, trees, collisions; mistakes are told before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.cli.inputs import Naming, check_free, plan_work
from runtime.errors import InputError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "notes.txt", "x/c.webp", "x/y/d.tif", ".hidden/e.jpg", ".f.jpg"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "in"


def places(work, root: Path) -> dict[str, str]:
    return {item.source.name: str(item.target.relative_to(root)) for item in work.items}


def test_a_folder_gives_its_photos_in_order(tree, tmp_path):
    out = tmp_path / "out"
    work = plan_work([str(tree)], str(out), Naming())
    assert places(work, out) == {"a.PNG": "a.PNG", "b.jpg": "b.jpg"}
    assert (work.others, work.folder) == (1, out)
    assert not out.exists()


def test_recursive_mirrors_the_tree(tree, tmp_path):
    out = tmp_path / "out"
    work = plan_work([str(tree)], str(out), Naming("_bright", ".png"), recursive=True)
    expected = {
        "a.PNG": "a_bright.png",
        "b.jpg": "b_bright.png",
        "c.webp": "x/c_bright.png",
        "d.tif": "x/y/d_bright.png",
    }
    assert places(work, out) == expected


def test_in_place_goes_back_to_the_photos(tree):
    work = plan_work([str(tree)], None, Naming(), recursive=True, in_place=True)
    assert all(item.source == item.target for item in work.items)
    assert len(work.items) == 4


@pytest.mark.parametrize("output", ["in", "in/out", "in/x/../out", "link"])
def test_results_among_the_photos_are_refused(tree, tmp_path, output):
    (tmp_path / "link").symlink_to(tree)
    with pytest.raises(InputError, match="take its results for photos"):
        plan_work([str(tree)], str(tmp_path / output), Naming())


def test_names_that_would_meet_are_refused(tmp_path):
    for name in ("x/a.jpg", "y/a.jpg", "y/A.JPG", "x/a.png", "x/\u00e9.jpg", "y/e\u0301.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    out = str(tmp_path / "out")

    def plan(*names: str, naming: Naming | None = None):
        return plan_work([str(tmp_path / name) for name in names], out, naming or Naming())

    for pair in (("x/a.jpg", "y/a.jpg"), ("x/a.jpg", "y/A.JPG"), ("x/\u00e9.jpg", "y/e\u0301.jpg")):
        with pytest.raises(InputError, match="both become"):
            plan(*pair)
    with pytest.raises(InputError, match="both become"):
        plan("x/a.jpg", "x/a.png", naming=Naming(format_suffix=".png"))
    assert [item.target.name for item in plan("x/a.jpg", "x/a.png").items] == ["a.jpg", "a.png"]
    with pytest.raises(InputError, match="one file"):
        plan_work([str(tmp_path / "x/a.jpg"), str(tmp_path / "x/a.png")], str(tmp_path / "o.png"), Naming())


def test_what_gives_no_photo_is_told(tree, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    cases = {
        "empty": "no photo is in this folder; check the name",
        "texts": "only 1 other files",
        "deep": "--recursive looks into",
        "*.jpg": "matches no file",
    }
    for name, words in cases.items():
        with pytest.raises(InputError) as error:
            plan_work([str(tmp_path / name)], str(tmp_path / "out" / ""), Naming())
        assert words in str(error.value)
    assert not (tmp_path / "out").exists()


def test_results_that_are_there_are_counted_before_work(tree, tmp_path):
    out = tmp_path / "out"
    work = plan_work([str(tree)], str(out), Naming())
    check_free(work.items)
    out.mkdir()
    (out / "b.jpg").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"1 of 2 results are there already .*--skip-existing"):
        check_free(work.items)
