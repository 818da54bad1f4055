#!/usr/bin/env python
"""Django's command line for Payonce.

In a checkout where `make run` has been started, commands talk to the same services: the environment file that it
wrote into the state folder is read first. Real environment variables win, and DEBUG=0 ignores the file.
"""

import os
import sys

from shop.env import read_development_file


def main() -> None:
    read_development_file()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
