from .cli.command import run_command
from .cli.video.command import main

if __name__ == "__main__":
    run_command(main)
