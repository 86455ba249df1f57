"""The fault suite in full: `python -m tests.faults`, about 45 minutes on two cores.

Random kills, then the state machine against its model, then every order of two callers'
statements; then the events: brokers that bounce, publishers that are killed, outages, exits, and
minutes of all that. Each prints its counts, and any count that must be 0 and is not ends it with an
error.
"""

import subprocess
import sys
from typing import Final

_SUITES: Final = (
    "worker_kills",
    "model",
    "interleavings",
    "broker_bounces",
    "publisher_kills",
    "long_outages",
    "broker_costs",
    "exits",
    "event_soak",
)


def main() -> int:
    """Run each suite in a process of its own; return how many failed."""
    commands = [[sys.executable, "-m", f"tests.faults.{suite}"] for suite in _SUITES]
    return sum(subprocess.run(command, check=False).returncode != 0 for command in commands)


if __name__ == "__main__":
    sys.exit(main())
