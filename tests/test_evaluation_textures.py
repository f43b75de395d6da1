"""Textures from the ratings of the readers."""

import json

import pytest

from lib.errors import UserError
from lib.evaluation.textures import Texture, read_textures, texture_of


@pytest.mark.parametrize(
    ("ratings", "texture"),
    [
        ([1], "ground glass"),
        ([2, 2, 2], "ground glass"),
        ([1, 2, 5], "ground glass"),
        ([1, 1, 4, 4], "part-solid"),
        ([3, 3, 5], "part-solid"),
        ([3, 4], "part-solid"),
        ([4], "solid"),
        ([1, 4, 4, 5], "solid"),
        ([5, 5, 1], "solid"),
    ],
)
def test_texture_is_the_median_of_the_readers(ratings, texture):
    assert texture_of(ratings) is Texture(texture)


def test_textures_by_name(tmp_path):
    path = tmp_path / "nodules.json"
    path.write_text(
        json.dumps(
            [
                {"name": "P1_R_1", "patient": "P1", "outlines": [{"texture": 5, "voxels": 7}, {"texture": 4}]},
                {"name": "P2_R_1", "outlines": [{"texture": 1}]},
            ]
        )
    )
    assert read_textures(path) == {"P1_R_1": Texture.SOLID, "P2_R_1": Texture.GROUND_GLASS}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "the file: Invalid JSON"),
        ('[{"name": "P1", "outlines": [{"texture": 6}]}]', "0.outlines.0.texture: .* less than or equal to 5"),
        ('[{"name": "P1", "outlines": []}]', "0.outlines: "),
        ('[{"outlines": [{"texture": 1}]}]', "0.name: Field required"),
    ],
)
def test_other_content_is_refused(tmp_path, content, message):
    (tmp_path / "nodules.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read_textures(tmp_path / "nodules.json")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_textures(tmp_path / "nodules.json")
