"""`python launcher.py REPORT COMMAND …`: runs a command under limits and writes what it used to REPORT.

A process's largest resident size counts what it was before it became the program: that of whoever started it. So the
tests, which are large, start this, which is small. REPORT gets the wait status, seconds of CPU, and megabytes.
"""

import os
import resource
import sys

_CPU_SECONDS = 20
_ADDRESS_SPACE = 6 << 30


def main() -> None:
    report, *command = sys.argv[1:]
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS + 1))
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.execvp(command[0], command)
    _, status, used = os.wait4(child, 0)
    with open(report, "w", encoding="ascii") as file:  # noqa: PTH123 (pathlib would make this process larger)
        file.write(f"{status} {used.ru_utime + used.ru_stime} {used.ru_maxrss / 1024}")


if __name__ == "__main__":
    main()
