"""The command line. Each command parses, calls one function and prints; errors of the user's input exit with code 2.

A module of this folder that has an `app` is a command group under its own name.
"""

import importlib
import json
import os
import pkgutil
import sys

import typer
from rich.console import Console

from tiergarten import __version__
from tiergarten.sim.errors import InputError, TiergartenError

app = typer.Typer(
    name="tiergarten",
    help="Simulate and explore the memory systems of AI hardware.\n\nFirst steps:  tiergarten run kv-tiers",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def mount() -> None:
    """Put the commands of every module in: at the top where it says `TOP_LEVEL`, else under the module's name. Once is enough."""
    if app.registered_groups:
        return
    for module_info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        group = getattr(module, "app", None)
        if group is not None and getattr(module, "TOP_LEVEL", False):
            app.registered_commands += group.registered_commands
        elif group is not None:
            app.add_typer(group, name=module_info.name)


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 a check or verification failed, 2 bad input, 130 interrupted."""
    mount()
    try:
        app()
    except TiergartenError as error:
        _print_error(error)
        sys.exit(2)
    except KeyboardInterrupt:
        Console(stderr=True).print("[yellow]interrupted; finished results are kept[/]")
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        Console(stderr=True).print(f"[red]error[/] {error.filename or ''}: {error.strerror or error}", highlight=False)
        sys.exit(2)


def _print_error(error: TiergartenError) -> None:
    problems = error.problems if isinstance(error, InputError) else ()
    if "--json" in sys.argv:
        listed = [{"file": p.file, "line": p.line, "path": p.path, "message": p.message} for p in problems]
        print(json.dumps({"errors": listed or [{"message": str(error)}]}))
        return
    console = Console(stderr=True, soft_wrap=True)
    lines = [str(problem) for problem in problems] or [str(error)]
    for line in lines:
        console.print("[bold red]error[/]", end=" ")
        console.print(line, markup=False, highlight=False, emoji=False)
    if len(lines) > 1:
        console.print(f"{len(lines)} problems; nothing was run", style="dim")
