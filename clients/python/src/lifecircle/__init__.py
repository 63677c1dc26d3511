"""What internal systems and integrations install to speak to Lifecircle (生活圈).

`Lifecircle` is the platform behind one front door; messages come from `lifecircle.<service>.v1`; a refused call raises
the class of its reason (`refusal`); `items` walks through pages; `tokens` renews tokens.
"""

from lifecircle.client import Lifecircle as Lifecircle
from lifecircle.errors import Fault as Fault
from lifecircle.errors import Refused as Refused
from lifecircle.errors import fault as fault
from lifecircle.errors import refusal as refusal
from lifecircle.paging import items as items

__all__ = ["Fault", "Lifecircle", "Refused", "fault", "items", "refusal"]
