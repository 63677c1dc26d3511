"""What internal systems and integrations install to speak to Lifecircle (生活圈).

`Lifecircle` is the platform behind one front door; messages come from `lifecircle.<service>.v1`; `fault` reads why a
call was refused.
"""

from lifecircle.client import Lifecircle as Lifecircle
from lifecircle.errors import Fault as Fault
from lifecircle.errors import fault as fault

__all__ = ["Fault", "Lifecircle", "fault"]
