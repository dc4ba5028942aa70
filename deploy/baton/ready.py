"""Exit 0 if a URL answers well, 1 if not: the image has Python and no curl."""

import sys
from urllib.request import urlopen

try:
    urlopen(sys.argv[1], timeout=3).close()  # noqa: S310 - the URL stands in docker-compose.yml
except OSError as error:
    sys.exit(f"{sys.argv[1]}: {error}")
