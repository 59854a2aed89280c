"""``python -m orchestrator``: the command line, for processes that know their interpreter and not the PATH."""

from orchestrator.cli import main

if __name__ == "__main__":
    main()
