"""Python loads this at the start of a campaign's processes: their PYTHONPATH names its folder.

No package of Kopeck knows of it, and outside the demo it does nothing.
"""

import os

if os.environ.get("KOPECK_PUPPET") and os.environ.get("KOPECK_MODE") == "demo":
    from tests.payouts.processes import puppet

    puppet.tie(os.environ["KOPECK_PUPPET"])
