"""Settings: values of info.yaml, --conf and requests are parsed and validated in one place."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lib import __version__
from lib.inference.slice_inference import MIRRORED
from lib.settings import APP_DIR, Info, Settings, SettingsError, check_request, load_info
from lib.settings.reading import INFO, read_info
from lib.settings.sections import Config, InferenceOptions, Start

TEXT = INFO.read_text(encoding="utf-8")


def refusal(action) -> list[str]:
    with pytest.raises(SettingsError) as error:
        action()
    return str(error.value).splitlines()


def test_values_are_converted_to_their_type(tmp_path):
    conf = {"workspace": str(tmp_path / "w"), "threshold": "0.25", "crf": "TRUE", "max_epochs": "3"}
    conf |= {"learning_rate": "1e-4"}
    settings = Settings.from_conf(str(tmp_path / "dicom"), conf)
    assert settings.info["config"]["infer"]["threshold"] == 0.25
    assert settings.info["config"]["infer"]["crf"] is True
    assert settings.info["config"]["train"]["max_epochs"] == 3
    assert settings.info["config"]["train"]["learning_rate"] == 1e-4
    assert settings.workspace == tmp_path / "w"


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("thresold", "0.5", "--conf thresold is not known. Did you mean threshold? Known: allowed_hosts, "),
        ("threshold", "0,5", "above 0 and below 1, not '0,5'. Use a decimal point: 0.5."),
        ("threshold", "7", "--conf threshold must be a number above 0 and below 1, not '7'."),
        ("threshold", "high", "--conf threshold must be a number above 0 and below 1, not 'high'."),
        ("batch_size", "eight", "--conf batch_size must be a whole number from 1 to 256, not 'eight'."),
        ("batch_size", "0", "--conf batch_size must be a whole number from 1 to 256, not '0'."),
        ("max_epochs", "1.5", "--conf max_epochs must be a whole number from 1 to 1000000, not '1.5'."),
        ("learning_rate", "nan", "--conf learning_rate must be a number above 0 and up to 1, not 'nan'."),
        ("lease_minutes", "inf", "--conf lease_minutes must be a number from 0 to 10080, not 'inf'."),
        ("infer_ahead", "6-6", "--conf infer_ahead must be never, idle, or hours of the day such as 20-6, not '6-6'."),
        (
            "infer_ahead",
            "06-6",
            "--conf infer_ahead must be never, idle, or hours of the day such as 20-6, not '06-6'.",
        ),
        ("crf", "perhaps", "--conf crf must be true or false, not 'perhaps'."),
        ("patch_size", "40", "--conf patch_size must be a whole number from 16 to 512, a multiple of 16, not '40'."),
        ("patch_size", "512", "patch_size must be a multiple of 16 and at most 256"),
        ("rescan_seconds", "soon", "--conf rescan_seconds must be a number from 0.1 to 86400, not 'soon'."),
        ("rescan_seconds", "0", "--conf rescan_seconds must be a number from 0.1 to 86400, not '0'."),
        ("workspace ", "x", "--conf workspace  is not known. Did you mean workspace?"),
    ],
)
def test_s17_invalid_conf_is_one_sentence(tmp_path, name, text, sentence):
    """S17: it names --conf, the key and the allowed values."""
    (told,) = refusal(lambda: Settings.from_conf(str(tmp_path), {name: text}))
    assert sentence in told
    assert "--conf" in told


_OFFSETS = "slice_offsets_mm: [-10, -5, -2.5, -1.25, 0, 1.25, 2.5, 5, 10]"


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("threshold: 0.4", "threshold: 0,5", "config.infer.threshold must be a number above 0 and below 1, not '0,5'."),
        ("threshold: 0.4", "threshold: .nan", "config.infer.threshold must be a number above 0 and below 1, not nan."),
        ("threshold: 0.4", "thresold: 0.5", "thresold in config.infer is not known. Did you mean threshold? Known: "),
        ("threshold: 0.4", "threshold: '0.5'", "config.infer.threshold must be a number above 0 and below 1, not "),
        ("batch_size: 8 ", "batch_size: true ", "config.infer.batch_size must be a whole number from 1 to 256, not "),
        ("learning_rate: 0.0003", "learning_rate: .inf", "must be a number above 0 and up to 1, not inf."),
        ("crf: false", "crf: 0", "config.infer.crf must be true or false, not 0."),
        ("hu_window: [-1000, 400]", "hu_window: [400, -1000]", "preprocessing.hu_window must be [lower, upper]"),
        ("hu_window: [-1000, 400]", "hu_window: [-1000]", "must be a list of 2 values, each a number from -32768 to"),
        ("hu_window: [-1000, 400]", "hu_window: [-1000, x]", "but contains 'x'."),
        ("size: [256, 256]", "size: 256", "preprocessing.size must be a list of 2 values, each a whole number"),
        ("size: [256, 256]", "size: [256, 250]", "preprocessing.size must be multiples of 16"),
        ("field: lungs", "field: lung", "preprocessing.field must be lungs or slice, not 'lung'."),
        (
            _OFFSETS,
            "slice_offsets_mm: [-5, 0, 5]",
            "network.in_channels is 9, but preprocessing.slice_offsets_mm has 3",
        ),
        (_OFFSETS, _OFFSETS.replace("-10", "-11"), "views must be 1, not 4"),
        ("network:", "netwrok:", "netwrok is not known. Did you mean network? Known: clicks, config"),
        (
            "lung_tumor: 1",
            "lung_tumor: 300",
            "a mapping of names to values, each a whole number from 1 to 255",
        ),
        ("lung_tumor: 1", "lung_tumour: 1", "segments must describe every label; lung_tumour is missing."),
        ('["49755003", SCT, Morph', "[49755003, SCT, Morph", "segments.lung_tumor.category must be a list of 3 values"),
        ("name: LungLabel\n", "name: LungLabel\nversion: 0.1\n", "version must be text, not 0.1."),
        ("name: LungLabel\n", "", "name is missing; it must be text."),
        ("dice_margin: 0.005", "dice_margin: 2", "publish.dice_margin must be a number from 0 to 1, not 2."),
        ("dice_margin: 0.005", "dice_margin: 0\n  dice_margin: 1", "is not YAML in line "),
        ("config:", "config: [", "is not YAML in line "),
        ("export:", "export: 3\n  other:", "config.export must be a section of settings, not 3."),
        (TEXT, "just text", "must consist of sections"),
        (TEXT, "", "must consist of sections"),
        (TEXT, "\x00", "is not YAML"),
        (TEXT, "[" * 5000, "is not YAML"),
    ],
)
def test_s17_invalid_info_yaml_is_one_sentence(tmp_path, before, after, sentence):
    """S17: it names the file, the key and the allowed values."""
    assert before in TEXT
    path = tmp_path / "info.yaml"
    path.write_text(TEXT.replace(before, after, 1), encoding="utf-8")
    told = refusal(lambda: load_info(path))
    assert all(line.startswith("info.yaml") for line in told)
    assert any(sentence in line for line in told), told


def test_s17_inconsistent_values_are_all_reported(tmp_path):
    text = TEXT.replace("in_channels: 9", "in_channels: 3").replace("size: [256, 256]", "size: [56, 56]")
    path = tmp_path / "info.yaml"
    path.write_text(text, encoding="utf-8")
    told = refusal(lambda: load_info(path))
    assert [line.split()[1] for line in told] == ["network.in_channels", "preprocessing.size", "patch_size"]
    small = {"patch_size": 16, "patches_per_volume": 1}
    assert refusal(lambda: check_request(load_info(), "train", small))[0].startswith("patches_per_volume must be at")


def test_s17_unreadable_file_is_one_sentence(tmp_path):
    assert "info.yaml cannot be read: No such file" in refusal(lambda: load_info(tmp_path / "info.yaml"))[0]
    (tmp_path / "info.yaml").write_bytes(b"name: \xff")
    assert refusal(lambda: load_info(tmp_path / "info.yaml")) == ["info.yaml is not YAML: it is not UTF-8 text."]


def test_s17_all_errors_are_reported_at_once(tmp_path):
    path = tmp_path / "info.yaml"
    path.write_text(TEXT.replace("threshold: 0.4", "threshold: 7").replace("views: 4", "view: 4"), encoding="utf-8")
    told = refusal(lambda: read_info(path, {"seed": "-1", "crff": "true"}))
    assert len(told) == 4
    for name in ("config.infer.threshold", "view in config.infer", "--conf seed", "--conf crff"):
        assert sum(name in line for line in told) == 1


@pytest.mark.parametrize(
    ("section", "request_", "sentence"),
    [
        ("infer", {"threshold": 7}, "threshold must be a number above 0 and below 1, not 7."),
        ("infer", {"threshold": None}, "threshold must be a number above 0 and below 1, not None."),
        ("infer", {"batch_size": "many"}, "batch_size must be a whole number from 1 to 256, not 'many'."),
        ("infer", {"crf": 1}, "crf must be true or false, not 1."),
        ("infer", {"crf_max_voxels": 10**400}, "crf_max_voxels must be a whole number from 0 to 100000000, not 1000"),
        ("train", {"patch_size": 100}, "patch_size must be a whole number from 16 to 512, a multiple of 16, not 100."),
        ("train", {"learning_rate": float("nan")}, "learning_rate must be a number above 0 and up to 1, not nan."),
        ("train", {"seed": [1]}, "seed must be a whole number from 0 to 4294967295, not [1]."),
    ],
)
def test_s17_requests_have_the_same_ranges(section, request_, sentence):
    """S17: a value refused at start is refused in a request."""
    (told,) = refusal(lambda: check_request(load_info(), section, request_))
    assert sentence in told


def test_valid_request_is_accepted():
    check_request(load_info(), "infer", {"threshold": 0.3, "crf_bilateral_hu": 200, "image": "x", "device": None})
    check_request(load_info(), "train", {"max_epochs": 1, "patch_size": 32, "gpus": "all"})


def test_defaults_match_info_yaml():
    content = yaml.safe_load(TEXT)
    assert load_info() == {**content, "version": __version__}
    required = {name: content[name] for name in ("name", "description", "labels", "segments")}
    assert Info.model_validate(required).model_dump() == load_info()
    assert Settings.from_conf("/data").changed == ()


def test_every_setting_has_a_description_and_a_unique_name():
    sections = [field.annotation for field in Config.model_fields.values()]
    names = [name for section in (*sections, Start) for name in section.model_fields]
    assert len(set(names)) == len(names), "--conf NAME would be ambiguous"
    assert all(field.description for section in (*sections, Start) for field in section.model_fields.values())
    assert f"to {len(MIRRORED)}" in refusal(lambda: check_request(load_info(), "infer", {"views": 99}))[0]


def test_changed_settings_are_listed_with_default_and_source(tmp_path):
    settings = Settings.from_conf("/data", {"threshold": "0.6", "views": "4", "workspace": str(tmp_path)})
    told = {change.pop("name"): change for change in settings.changed}
    assert told["infer.threshold"] == {
        "value": 0.6,
        "default": 0.4,
        "source": "--conf",
        "meaning": InferenceOptions.model_fields["threshold"].description,
    }
    assert set(told) == {"infer.threshold", "workspace"}, "views has its default value"


def test_workspace_inside_the_dicom_folder_is_refused(tmp_path):
    assert (
        "never written to" in refusal(lambda: Settings.from_conf(str(tmp_path), {"workspace": str(tmp_path / "w")}))[0]
    )


def test_default_workspace_is_per_user_and_per_studies(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    one = Settings.from_conf("/data/one").workspace
    other = Settings.from_conf("http://pacs/dicom-web").workspace
    assert one.parent == other.parent == tmp_path / "lunglabel"
    assert one != other
    assert not Path(one).exists()


@pytest.mark.server
def test_s17_invalid_settings_end_the_process_with_status_2(tmp_path):
    """S17: with the messages and no traceback, for the server and for a command."""
    (tmp_path / "dicom").mkdir()
    server = [sys.executable, "-m", "monailabel.main", "start_server", "--app", str(APP_DIR)]
    server += ["--studies", str(tmp_path / "dicom"), "--host", "127.0.0.1", "--port", "1"]
    server += ["--conf", "threshold", "0,5", "--conf", "bach_size", "8", "--conf", "workspace", str(tmp_path / "w")]
    command = [sys.executable, str(APP_DIR / "main.py"), "infer", "--studies", str(tmp_path / "dicom")]
    command += ["--output", str(tmp_path / "out"), "--conf", "threshold", "0,5", "--conf", "bach_size", "8"]
    for call in (server, command):
        ended = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        told = ended.stderr
        assert ended.returncode == 2, told
        assert "Traceback" not in told
        assert "--conf threshold must be a number" in told
        assert "Did you mean batch_size?" in told


def test_s13_task_processes_use_the_same_workspace(tmp_path, monkeypatch):
    """S13: the server changes its working directory, to which --conf workspace was relative."""
    from monailabel.config import settings as server_settings

    from lib.server.upstream_patches import apply_settings

    conf = {"workspace": "ws", "model_dir": "weights", "threshold": "0.6"}
    for name in ("TRACKING_ENABLED", "AUTO_UPDATE_SCORING", "INFER_CONCURRENCY", "SESSION_PATH"):
        name = f"MONAI_LABEL_{name}"
        monkeypatch.setattr(server_settings, name, getattr(server_settings, name))  # restored at the end
    monkeypatch.setattr(server_settings, "MONAI_LABEL_APP_CONF", conf)
    monkeypatch.setenv("MONAI_LABEL_APP_CONF", json.dumps(conf))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_conf("studies", conf)
    apply_settings(settings, in_server=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = Settings.from_conf(settings.studies, json.loads(os.environ["MONAI_LABEL_APP_CONF"]))
    assert (
        (again.workspace, again.model_dir)
        == (settings.workspace, settings.model_dir)
        == (
            tmp_path / "ws",
            tmp_path / "weights",
        )
    )
    assert again.info == settings.info
