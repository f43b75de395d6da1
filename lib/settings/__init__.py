"""What can be set: in ``info.yaml``, by ``--conf`` and by the parameters of a request; checked once, here.

A new setting is one field of a section in `lib.settings.sections`; a new section is one short class there, one field
of `Config` and the same lines in ``info.yaml``. Everything else (``--conf``, messages, status page) follows from it.
"""

from lib.settings.problems import SettingsError
from lib.settings.reading import check_request, load_info
from lib.settings.sections import InferenceOptions, Info, Section
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
