"""Settings from ``info.yaml``, ``--conf`` and request parameters, validated in one place.

To add a setting, add a field to a section in `lib.settings.sections` or `lib.settings.server_sections`; to add a
section, add a class there, a field of `Config` and the same lines in ``info.yaml``. ``--conf``, messages and status
page are derived from these.
"""

from lib.settings.problems import SettingsError
from lib.settings.reading import check_request, load_info
from lib.settings.section import Section
from lib.settings.sections import InferenceOptions, Info
from lib.settings.settings import APP_DIR, Settings, is_url

__all__ = [
    "APP_DIR",
    "InferenceOptions",
    "Info",
    "Section",
    "Settings",
    "SettingsError",
    "check_request",
    "is_url",
    "load_info",
]
