"""Says which packages two `Cargo.lock` files have in other versions, and fails if there are any."""

import sys
import tomllib
from collections import defaultdict
from pathlib import Path


def versions(lock: str) -> dict[str, set[str]]:
    """Versions by name."""
    found = defaultdict(set)
    for package in tomllib.loads(Path(lock).read_text(encoding="utf-8"))["package"]:
        found[package["name"]].add(package["version"])
    return found


def main() -> None:
    reference, other = map(versions, sys.argv[1:3])
    strays = [
        f"{name}: {', '.join(sorted(has))} there, {', '.join(sorted(reference[name]))} here"
        for name, has in sorted(other.items())
        if name in reference and not has <= reference[name]
    ]
    if strays:
        remedy = f"copy {sys.argv[1]} to {sys.argv[2]} and run `cargo metadata` there: what is missing is added"
        sys.exit("\n".join([*strays, remedy]))


if __name__ == "__main__":
    main()
