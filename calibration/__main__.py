from runtime.command import run_command

from .cli import main

run_command(main)
