from runtime.cli.command import run_command
from serving.triton.cli import main

if __name__ == "__main__":
    run_command(main)
