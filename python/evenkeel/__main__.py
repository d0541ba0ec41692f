"""The program `evenkeel`."""

import signal
import sys

from . import _native


def main() -> None:
    """Carries out the command line."""
    # Signals end the program as they end it where there is no interpreter around it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(_native.program(sys.argv[1:]))


if __name__ == "__main__":
    main()
