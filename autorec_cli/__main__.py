"""`python -m autorec_cli` is the console script `autorec`."""

from autorec_cli.cli.main import main

if __name__ == "__main__":
    main()
