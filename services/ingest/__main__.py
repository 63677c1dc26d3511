"""`python -m services.ingest serve [--work] | work | migrate | check …`."""

import sys

from services.ingest import app, offline
from services.kit import command

if __name__ == "__main__":
    sys.exit(command.main("ingest", app.run, offline={"check": offline.check}))
