"""python -m sddcli is sdd."""

from sddcli.cli.app import main

if __name__ == "__main__":
    main()
