"""python -m sddcli is sdd."""

import sys

# Python puts the folder that it is started in before its own modules, and a user may have a socket.py there. Nothing is
# needed from it, unless sdd itself lies there. Nothing may be imported before.
if __name__ == "__main__" and not sys.flags.safe_path and not __file__.startswith(f"{sys.path[0]}/sddcli"):
    del sys.path[0]

from sddcli.cli.app import main

if __name__ == "__main__":
    main()
