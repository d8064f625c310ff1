from .cli.command import run_command
from .cli.plan import main

if __name__ == "__main__":
    run_command(main)
