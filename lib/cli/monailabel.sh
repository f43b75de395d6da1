#!/bin/sh
# MONAI Label's command in a virtual environment. The one in the wheel runs whatever `python` is first in PATH, breaks at
# spaces in paths, and imports from the current folder first: an xml.py that lies there would run. -I does not (-P is of
# Python 3.11).
exec "$(dirname "$(readlink -f "$0")")/python" -I -m monailabel.main "$@"
