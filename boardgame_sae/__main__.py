"""`python -m boardgame_sae`: the same as `boardgame-sae`."""

import sys

from boardgame_sae.cli import main

if __name__ == "__main__":
    sys.exit(main())
