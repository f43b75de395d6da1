#!/bin/sh
# MONAI Label's command in a virtual environment. The one in the wheel runs whatever `python` is first in PATH, breaks at
# spaces in paths, and imports from the current folder first: an xml.py that lies there would run. -I does not (-P is of
# Python 3.11). OpenMP's threads must sleep while they wait (lib/processes/priority.py); set here, the server need not restart
# itself for it.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
exec "$(dirname "$(readlink -f "$0")")/python" -I -m monailabel.main "$@"
