"""`python -m outpace`: the command line."""

from outpace.cli.main import main

if __name__ == "__main__":
    main()
