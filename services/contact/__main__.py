"""`python -m services.contact serve [--work] | work | migrate | arbitrate --candidates FILE …`."""

import sys

from services.contact import app, offline
from services.kit import command

if __name__ == "__main__":
    sys.exit(command.main(app.SERVICE, app.run, offline={"arbitrate": offline.arbitrate}))
