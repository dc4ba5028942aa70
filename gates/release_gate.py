"""What release jobs call: ``python gates/release_gate.py OPTIONS`` is ``baton gate OPTIONS``."""

import sys

from baton.cli import main

if __name__ == "__main__":
    sys.exit(main(["gate", *sys.argv[1:]]))
