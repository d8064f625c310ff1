from runtime.cli.command import run_command

from .cli import main

run_command(main)
