"""`python -m services.portrait serve [--work] | work | migrate | compute …`."""

import sys

from services.kit import command
from services.portrait import app, offline

if __name__ == "__main__":
    sys.exit(command.main("portrait", app.run, offline={"compute": offline.compute}))
