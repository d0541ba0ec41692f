"""The native half; see `src/lib.rs`."""

from collections.abc import Callable

__version__: str

class CommandFailed(Exception):
    """Exit code, message, mistakes in the scenario as JSON."""

    args: tuple[int, str, str]

Progress = Callable[[float], object] | None

def run_scenario(words: list[str], progress: Progress) -> tuple[str, str, str, dict[str, bytes]]:
    """Summary as JSON, the same in words, the scenario in full, tables as Parquet."""

def check_scenarios(words: list[str], progress: Progress) -> tuple[int, str, str, str]:
    """Exit code, verdicts as JSON, in words, as Markdown."""

def sweep_scenario(words: list[str], progress: Progress) -> tuple[tuple[str, int, int] | None, list[str]]:
    """Part, its runs, those of them that were known; the files that parts were put together to."""

def fit_logs(words: list[str], progress: Progress) -> tuple[list[tuple[str, str]], list[str], list[str], list[str]]:
    """What was counted, what was inferred, how well it fits, the files."""

def explain_scenario(words: list[str]) -> str:
    """The scenario in full."""

def list_all() -> str:
    """All that scenarios can name, as JSON."""

def program(arguments: list[str]) -> int:
    """The whole program; the exit code."""
