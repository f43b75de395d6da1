"""Settings: every value of --conf is parsed and checked in one place."""

from pathlib import Path

import pytest

from lib.errors import UserError
from lib.settings import Settings


def test_values_get_the_type_of_their_default(tmp_path):
    conf = {"workspace": str(tmp_path / "w"), "threshold": "0.25", "crf": "TRUE", "max_epochs": "3"}
    settings = Settings.from_conf(str(tmp_path / "dicom"), conf)
    assert settings.info["config"]["infer"]["threshold"] == 0.25
    assert settings.info["config"]["infer"]["crf"] is True
    assert settings.info["config"]["train"]["max_epochs"] == 3
    assert settings.workspace == tmp_path / "w"


@pytest.mark.parametrize(
    ("conf", "sentence"),
    [
        ({"thresold": "0.5"}, "--conf thresold is not known. Known: .*threshold"),
        ({"threshold": "high"}, "threshold must be a number"),
        ({"max_epochs": "1.5"}, "max_epochs must be a number"),
        ({"crf": "perhaps"}, "crf must be true or false"),
        ({"rescan_seconds": "soon"}, "rescan_seconds must be a number"),
    ],
)
def test_wrong_values_are_named(tmp_path, conf, sentence):
    with pytest.raises(UserError, match=sentence):
        Settings.from_conf(str(tmp_path), {"workspace": "/nowhere", **conf})


def test_workspace_in_the_dicom_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="never written to"):
        Settings.from_conf(str(tmp_path), {"workspace": str(tmp_path / "labels")})


def test_default_workspace_is_the_users_and_differs_by_studies(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    one = Settings.from_conf("/data/one").workspace
    other = Settings.from_conf("http://pacs/dicom-web").workspace
    assert one.parent == other.parent == tmp_path / "lunglabel"
    assert one != other
    assert not Path(one).exists()
