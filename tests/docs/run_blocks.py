"""Run the blocks of one documentation file in order; started by test_readme.py in an empty directory.

Argument: a JSON file with a list of ``[language, path, line, text]``. Python blocks share one namespace, as
a reader who types them one after the other would; shell blocks run in bash. The first failure ends the run.
"""

import json
import subprocess
import sys
from pathlib import Path


def main() -> None:
    namespace: dict[str, object] = {"__name__": "__main__"}
    for language, path, line, text in json.loads(Path(sys.argv[1]).read_text("utf-8")):
        print(f"-- {path}:{line} ({language})", flush=True)
        if language == "python":
            # blank lines in front make tracebacks point into the documentation file
            exec(compile("\n" * line + text, path, "exec"), namespace)  # noqa: S102
            sys.stdout.flush()
        else:
            subprocess.run(["bash", "-euo", "pipefail", "-c", text], check=True)


if __name__ == "__main__":
    main()
