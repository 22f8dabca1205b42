#!/usr/bin/env python3
"""Runs every test of a build folder and ends with one line: N passed, N failed.

Usage: run_tests.py [--suite NAME]... [--require SUITE] [--jobs N] [--scale-timeouts X] [--closing PREFIX] BUILD

The programs are those known to meson. What counts as one test depends on meson's suite:
    doctest  every test case, as in doctest's own closing line
    python   every unittest method
    check    the program as a whole
A program that crashes, times out, or closes without a summary counts as one failure more than it reported.
Exit status: 0 if at least one test ran and none failed, else 1.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

DOCTEST = re.compile(r"^\[doctest\] test cases:\s*\d+\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed", re.M)
UNITTEST = re.compile(r"^Ran (\d+) tests? in ", re.M)
UNITTEST_DETAIL = re.compile(r"(failures|errors|skipped|unexpected successes)=(\d+)")
DOCTEST_MESSAGE = re.compile(r"^\S+:\d+: MESSAGE: (.*)$", re.M)


def count(suite, output, status):
    """(passed, failed, skipped) of one finished program. `status`: its exit status, None after a time-out."""
    passed = failed = skipped = 0
    if suite == "doctest":
        summaries = DOCTEST.findall(output)
        if len(summaries) == 1:
            passed, failed = map(int, summaries[0])
        else:
            failed = 1
    elif suite == "python":
        ran = UNITTEST.findall(output)
        if len(ran) == 1:
            detail = {key: int(value) for key, value in UNITTEST_DETAIL.findall(output[output.rindex("\nRan "):])}
            skipped = detail.get("skipped", 0)
            failed = sum(value for key, value in detail.items() if key != "skipped")
            passed = int(ran[0]) - failed - skipped
        else:
            failed = 1
    else:
        passed, failed = (1, 0) if status == 0 else (0, 1)
    if failed == 0 and (status != 0 or passed + skipped == 0):
        failed = 1   # a crash after the summary, or a program that ran nothing
    return passed, failed, skipped


def run(test, scale):
    """Runs one entry of meson's list; returns its output, exit status (None: timed out) and seconds."""
    command = list(test["cmd"])
    if "doctest" in suites(test):
        command.append("--no-colors=true")
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=test["workdir"], env={**os.environ, **test["env"]},
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               start_new_session=True)
    timeout = test["timeout"] * scale
    try:
        output, _ = process.communicate(timeout=timeout or None)
        status = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)   # its children too
        output, _ = process.communicate()
        status = None
    return output.decode(errors="replace"), status, time.monotonic() - start


def suites(test):
    return [name.split(":")[-1] for name in test["suite"]]


def describe(status):
    if status is None:
        return "timed out"
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def report(test, outcome):
    output, status, seconds = outcome
    kind = next((s for s in suites(test) if s in ("doctest", "python")), "check")
    passed, failed, skipped = count(kind, output, status)
    line = f"{test['name']}: {passed} ok, {failed} not ok, {seconds:.1f} s"
    if failed:
        print(f"--- output of {test['name']}\n{output.rstrip()}\n--- {line}, {describe(status)}", flush=True)
    else:
        print(line, flush=True)
        for message in dict.fromkeys(DOCTEST_MESSAGE.findall(output)):
            print(f"  {message}", flush=True)
    return passed, failed, skipped


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--suite", action="append", help="only the tests of this suite")
    parser.add_argument("--require", metavar="SUITE", help="fail where the build knows no test of this suite")
    parser.add_argument("--jobs", type=int, default=1, help="programs at a time")
    parser.add_argument("--scale-timeouts", type=float, default=1)
    parser.add_argument("--closing", default="", help="put before the closing line")
    options = parser.parse_args(arguments)

    listed = subprocess.run(["meson", "introspect", "--tests", options.build], capture_output=True, text=True)
    if listed.returncode:
        sys.exit(f"{options.build}: expected a meson build folder: {listed.stderr or listed.stdout}")
    known = json.loads(listed.stdout)
    if options.require and not any(options.require in suites(test) for test in known):
        print(f"{options.build}: expected {options.require} tests, found none: see what its configuration left out")
        print(f"{options.closing}0 passed, 1 failed")
        return 1
    tests = [t for t in known if not options.suite or set(options.suite) & set(suites(t))]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        started = [(test, pool.submit(run, test, options.scale_timeouts)) for test in tests]
        totals = [report(test, future.result()) for test, future in started]
    passed, failed, skipped = (sum(column) for column in zip(*totals)) if totals else (0, 0, 0)
    print(f"{options.closing}{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
