"""Run one portable test module under the interpreter that runs this file.

Called by tools/run_portable.py as `micropython tests/portable_runner.py MODULE`. Every function
whose name begins with `test_` is called without arguments; a failure prints its traceback. The
last line is `RESULT passed failed`.
"""

import sys


def run(name: str) -> int:
    """Import the module, call its tests, print what failed; return the number of failures."""
    passed = failed = 0
    try:
        module = __import__(name)
    except Exception as error:
        print("FAILED", name, "(import)")
        sys.print_exception(error)
        print("RESULT 0 1")
        return 1
    for attribute in sorted(dir(module)):
        if not attribute.startswith("test_"):
            continue
        try:
            getattr(module, attribute)()
            passed += 1
        except Exception as error:
            failed += 1
            print("FAILED", name + "." + attribute)
            sys.print_exception(error)
    print("RESULT", passed, failed)
    return failed


if __name__ == "__main__":
    sys.exit(1 if run(sys.argv[1]) else 0)
