from runtime.cli.command import run_command
from serving.cluster.cli import main

if __name__ == "__main__":
    run_command(main)
