"""S11: user and password in the URL of a PACS."""

import pytest

from lib.app import MyApp
from lib.cli import main
from lib.dicomweb.login import mask_login, split_login
from lib.dicomweb.pacs_client import pacs_session
from lib.errors import UserError
from lib.settings import Settings


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://pacs/dicom-web", ("http://pacs/dicom-web", None)),
        ("http://reader:secret@pacs/dicom-web", ("http://pacs/dicom-web", ("reader", "secret"))),
        ("https://a%40b:s%2F%3A@pacs:8042/x", ("https://pacs:8042/x", ("a@b", "s/:"))),
        ("http://reader:a@b@[::1]:80/x?y=1", ("http://[::1]:80/x?y=1", ("reader", "a@b"))),
        ("http://reader@pacs", ("http://pacs", ("reader", ""))),
    ],
)
def test_s11_user_and_password_are_split_from_the_url(url, expected):
    assert split_login(url) == expected


@pytest.mark.parametrize(
    "url", ["http://reader:se/cret@pacs", "http://:secret@pacs", "http://reader:secret@", "http://[x"]
)
def test_s11_invalid_url_is_reported_without_the_password(url):
    with pytest.raises(UserError, match="URL of the PACS") as raised:
        split_login(url)
    assert "se" + "cret" not in str(raised.value)


def test_s11_settings_do_not_print_the_password_nor_name_a_folder_by_it():
    """S11: a changed password does not change the workspace."""
    one, other = (Settings.from_conf(f"http://reader:{word}@pacs/dicom-web") for word in ("hunter2", "changed"))
    assert one.login == ("reader", "hunter2")
    assert "hunter2" not in repr(one)
    assert one.studies == "http://pacs/dicom-web"
    assert one.workspace == other.workspace == Settings.from_conf("http://pacs/dicom-web").workspace
    assert pacs_session(one.login).auth is not None


def test_s11_password_is_masked_in_the_existing_log(tmp_path):
    """S11: MONAI Label wrote it before the app was loaded."""
    log = tmp_path / "app.log"
    log.write_text("studies: http://reader:secret@pacs/x; reader\nhttp://reader:secret@pacs")
    mask_login("http://reader:secret@pacs/x", tmp_path)
    assert log.read_text() == "studies: http://*************@pacs/x; reader\nhttp://*************@pacs"
    mask_login("http://pacs/x", tmp_path)


def test_s11_doctor_does_not_print_the_password(capsys):
    main(["doctor", "http://reader:secret@127.0.0.1:9/dicom-web"])
    told = capsys.readouterr()
    assert "127.0.0.1:9" in told.out
    assert "secret" not in told.out + told.err


def test_s11_password_is_masked_in_the_log_of_a_refused_start(tmp_path, monkeypatch):
    """S11: refused for an invalid URL or by the access rules."""
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "app.log"
    log.write_text("studies: http://reader:secret@[pacs/x")

    def end(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr("lib.app.os._exit", end)
    with pytest.raises(SystemExit):
        MyApp(str(tmp_path), "http://reader:secret@[pacs/x", {})
    assert log.read_text() == "studies: http://*************@[pacs/x"
