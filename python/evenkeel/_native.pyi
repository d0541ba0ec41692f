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

def compare_sides(words: list[str], progress: Progress) -> tuple[str, str, bytes, bool]:
    """Differences as JSON, in words, as Parquet, and whether any is worse."""

def advise_on(words: list[str], progress: Progress) -> tuple[str, str, bytes, list[str]]:
    """Candidates as JSON, the advice in words, as Parquet, the charts that were drawn."""

def write_baseline(words: list[str], progress: Progress) -> tuple[str, bytes]:
    """What was written as JSON and as Parquet."""

def read_baseline(file: str) -> tuple[str, bytes]:
    """What is in the file as JSON and as Parquet."""

def plan_sweep(words: list[str], progress: Progress) -> tuple[str, str]:
    """What a sweep would take as JSON, and in words."""

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
