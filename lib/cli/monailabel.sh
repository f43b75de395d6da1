#!/bin/sh
# MONAI Label's command in a virtual environment. The one in the wheel runs whatever `python` is first in PATH, breaks at
# spaces in paths, and imports from the current folder first: an xml.py that lies there would run. -I does not (-P is of
# Python 3.11). OpenMP's threads must sleep while they wait (lib/processes/priority.py); set here, the server need not restart
# itself for it. MONAI Label logs thirty lines before the address can be printed; they are left out, warnings are not, unless
# --verbose is given (lib/server/start.py logs again). `lib` must not be imported here: --app may be another checkout.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
level=INFO
for argument in "$@"; do
  case "$argument" in -v|--verbose|--verbose=*) level=NOTSET;; esac
done
exec "$(dirname "$(readlink -f "$0")")/python" -I -c "import logging
logging.disable(logging.$level)
from monailabel.main import Main
Main().run()" "$@"
