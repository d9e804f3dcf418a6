"""Known vulnerabilities of the installed packages, as pip-audit finds them; says so where it could not ask.

    python tools/audit.py

Exit code 1 for a vulnerability that is not in `EXPLAINED`. A service that cannot be reached is no fault of
the code: the exit code is 0 then, and the last line says how many packages nobody vouches for.
"""

from __future__ import annotations

import json
import subprocess
import sys

# id -> why it does not touch AnyPET; looked at again at each release
EXPLAINED: dict[str, str] = {}


def main() -> int:
    """Asks, prints what was found, and returns the exit code."""
    words = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--format", "json"]
    words += ["--progress-spinner", "off", "--timeout", "15"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (done.stderr.strip() or "no answer").splitlines()[-1]
        print(f"NOT AUDITED: pip-audit could not ask: {last}")
        return 0
    return judge(packages)


def judge(packages: list[dict[str, object]]) -> int:
    """The exit code for pip-audit's findings, which are printed."""
    faults = 0
    for package in packages:
        for found in package.get("vulns", ()):  # type: ignore[attr-defined]
            name = f"{package['name']} {package['version']}: {found['id']}"
            reason = next((EXPLAINED[i] for i in (found["id"], *found["aliases"]) if i in EXPLAINED), None)
            mended = ", ".join(found["fix_versions"]) or "no version"
            print(f"{name}: {reason or f'VULNERABLE, mended in {mended}'}")
            faults += reason is None
    unknown = [str(package["name"]) for package in packages if "skip_reason" in package]
    print(f"{len(packages) - len(unknown)} packages audited, {faults} vulnerabilities that nobody explained")
    if unknown:
        print(f"NOT AUDITED, unknown to the service or not reached: {len(unknown)}: {', '.join(unknown)}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
