import numpy as np
import pytest
from PIL import Image
from scenes import scene

from runtime.errors import InputError
from training import sheet
from training.darken import darken


def test_a_sheet_has_each_photo_beside_its_goal(tmp_path):
    big = tmp_path / "big"
    big.mkdir()
    Image.fromarray(scene(3, 200, 220)).save(big / "a.png")
    assert sheet.main([str(big), "-o", str(tmp_path / "sheet.png")]) == 0
    tiles = np.asarray(Image.open(tmp_path / "sheet.png")).reshape(6, 160, 4, 2, 160, 3)
    assert np.median(tiles[:, :, :, 0]) < 0.5 * np.median(tiles[:, :, :, 1])
    with pytest.raises(InputError, match="exists"):
        sheet.main([str(big), "-o", str(tmp_path / "sheet.png")])


def test_the_same_random_gives_the_same_pair_and_another_gives_another():
    photo = scene(0)
    first, again, other = (darken(photo, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_dark_photos_are_dark_and_targets_are_bright():
    pairs = [darken(scene(seed), np.random.default_rng(seed)) for seed in range(40)]
    assert all(dark.dtype == np.uint8 and target.dtype == np.float32 for dark, target in pairs)
    assert all(dark.shape == target.shape and 0 <= target.min() <= target.max() <= 1 for dark, target in pairs)
    assert np.median([dark.mean() / 255 for dark, _ in pairs]) < 0.2 < np.median([t.mean() for _, t in pairs])


def test_what_stays_blown_in_the_dark_photo_is_white_in_the_target():
    blown = []
    for seed in range(200):
        dark, target = darken(scene(seed), np.random.default_rng(seed))
        if dark.mean() < 80:
            blown.append(target[(dark >= 254).all(axis=2)])
    values = np.concatenate(blown)
    assert len(values) > 1000
    assert np.quantile(values.min(axis=1), 0.05) > 0.9
