"""`python -m genseg` is the command line."""

from genseg.cli import main

if __name__ == "__main__":
    main()
