"""``python -m benchmarks.report``: results -> a Markdown report with plots, and the README's table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from runtime.cli.command import Parser, check_no_folder, run_command
from runtime.cli.streams import tell
from runtime.errors import InputError
from runtime.machine.durable import make_folder
from runtime.machine.files import rewrite_file

BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m benchmarks.report",
        description="Turn results of `python -m benchmarks` into a Markdown report with plots beside it.",
        examples=("%(prog)s results.jsonl -o report.md",),
    )
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="files of JSON Lines")
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="the report (default: print it, no plots)")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="refresh the table between this file's markers")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    if args.output:
        check_no_folder(args.output)

    from .readme import readme_table
    from .records import read_records
    from .tables import markdown

    records = [record for path in args.results for record in read_records(path)]
    if not records:
        raise InputError(f"{args.results[0]}: holds no record; run `python -m benchmarks PACKAGE -o FILE` first.")
    if args.readme:
        refresh(args.readme, readme_table(records), [str(path) for path in args.results])
        tell(args.readme)
    if args.output:
        from .plots import draw

        try:
            make_folder(args.output.parent)
            plots = draw(records, args.output)
            rewrite_file(args.output, markdown(records, plots).encode())
        except OSError as error:
            raise InputError(f"{args.output}: cannot be written ({error.strerror}); choose another -o.") from error
        tell(args.output)
    if not args.readme and not args.output:
        print(markdown(records), end="")
    return 0


def refresh(readme: Path, table: str, results: Sequence[str]) -> None:
    """Put ``table`` between the markers of ``readme``, with the command that did it. Raises InputError."""
    try:
        text = readme.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise InputError(f"{readme}: cannot be read ({getattr(error, 'strerror', error)}); check the name.") from error
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended or BEGIN in rest:
        raise InputError(f"{readme}: the lines {BEGIN} and {END} are not in it, once each and in this order; add them.")
    command = f"`python -m benchmarks.report {' '.join(results)} --readme {readme.name}`"
    content = f"{before}{BEGIN}\n{table}\n\nWritten by {command}.\n{END}{after}"
    try:
        rewrite_file(readme, content.encode())
    except OSError as error:
        cure = "free space or check its permissions; it is as it was"
        raise InputError(f"{readme}: cannot be written ({error.strerror}); {cure}.") from error


if __name__ == "__main__":
    run_command(main)
