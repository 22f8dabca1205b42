"""tools/run_tests.py: how the output of a test program is counted, and the closing line of a whole run."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import run_tests  # noqa: E402

GOOD = "[doctest] test cases:  12 |  12 passed | 0 failed | 3 skipped\n[doctest] assertions: 40 | 40 passed | 0 failed |\n"
BAD = "[doctest] test cases: 5 | 3 passed | 2 failed | 0 skipped\n"


class Count(unittest.TestCase):
    def test_doctest(self):
        self.assertEqual(run_tests.count("doctest", "[doctest] run\n" + GOOD, 0), (12, 0, 0))
        self.assertEqual(run_tests.count("doctest", BAD, 1), (3, 2, 0))

    def test_doctest_without_a_summary_is_a_failure(self):
        for status in (0, 1, -11, None):
            self.assertEqual(run_tests.count("doctest", "about to crash\n", status), (0, 1, 0))

    def test_doctest_that_dies_after_its_summary_is_a_failure(self):
        self.assertEqual(run_tests.count("doctest", GOOD, -6), (12, 1, 0))
        self.assertEqual(run_tests.count("doctest", GOOD, None), (12, 1, 0))

    def test_a_program_without_test_cases_is_a_failure(self):
        empty = "[doctest] test cases: 0 | 0 passed | 0 failed | 0 skipped\n"
        self.assertEqual(run_tests.count("doctest", empty, 0), (0, 1, 0))
        self.assertEqual(run_tests.count("python", "\nRan 0 tests in 0.0s\n\nOK\n", 0), (0, 1, 0))

    def test_unittest(self):
        self.assertEqual(run_tests.count("python", "...\nRan 3 tests in 0.1s\n\nOK\n", 0), (3, 0, 0))
        self.assertEqual(run_tests.count("python", ".s\nRan 2 tests in 0.1s\n\nOK (skipped=1)\n", 0), (1, 0, 1))
        text = "FE.s\nRan 4 tests in 0.1s\n\nFAILED (failures=1, errors=1, skipped=1)\n"
        self.assertEqual(run_tests.count("python", text, 1), (1, 2, 1))
        self.assertEqual(run_tests.count("python", "Traceback\nImportError\n", 1), (0, 1, 0))

    def test_other_programs_count_as_one(self):
        self.assertEqual(run_tests.count("check", "whatever", 0), (1, 0, 0))
        self.assertEqual(run_tests.count("check", "whatever", 2), (0, 1, 0))


class WholeRun(unittest.TestCase):
    """main() with a stand-in for meson that lists shell commands as the tests."""

    def run_on(self, *tests, arguments=()):
        with tempfile.TemporaryDirectory() as folder:
            listed = [{"name": f"t{i}", "cmd": ["sh", "-c", script, "sh"], "env": {}, "workdir": None,
                       "suite": [f"osteon:{suite}"], "timeout": 30} for i, (suite, script) in enumerate(tests)]
            meson = pathlib.Path(folder) / "meson"
            meson.write_text("#!/bin/sh\ncat <<'LIST'\n" + json.dumps(listed) + "\nLIST\n")
            meson.chmod(0o755)
            environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
            return subprocess.run([sys.executable, ROOT / "tools" / "run_tests.py", *arguments, folder],
                                  capture_output=True, text=True, env=environment)

    def assert_run(self, result, closing, status):
        self.assertEqual(result.stdout.splitlines()[-1], closing, result.stdout + result.stderr)
        self.assertEqual(len(re.findall(r"\d+ passed, \d+ failed", result.stdout)), 1)
        self.assertEqual(result.returncode, status)

    def test_sums_over_programs(self):
        good = f"printf '%s' '{GOOD}'"
        self.assert_run(self.run_on(("doctest", good), ("doctest", good), ("check", "true")), "25 passed, 0 failed", 0)

    def test_a_failure_shows_its_output_and_the_status(self):
        result = self.run_on(("check", "true"), ("check", "echo why it failed; exit 3"))
        self.assert_run(result, "1 passed, 1 failed", 1)
        self.assertIn("why it failed", result.stdout)
        self.assertIn("exit status 3", result.stdout)

    def test_a_crash_and_a_time_out_are_failures(self):
        result = self.run_on(("doctest", "kill -SEGV $$"), ("doctest", "sleep 60"), ("check", "true"),
                             arguments=("--jobs", "2", "--scale-timeouts", "0.02"))
        self.assert_run(result, "1 passed, 2 failed", 1)
        self.assertIn("killed by SIGSEGV", result.stdout)
        self.assertIn("timed out", result.stdout)

    def test_no_test_at_all_is_a_failure(self):
        self.assert_run(self.run_on(), "0 passed, 0 failed", 1)

    def test_a_required_suite_must_be_there(self):
        result = self.run_on(("check", "true"), arguments=("--require", "doctest"))
        self.assert_run(result, "0 passed, 1 failed", 1)
        self.assertIn("expected doctest tests", result.stdout)
        self.assert_run(self.run_on(("check", "true"), arguments=("--require", "check")), "1 passed, 0 failed", 0)

    def test_messages_of_passing_tests_are_shown(self):
        result = self.run_on(("doctest", f"echo 'a_test.cpp:3: MESSAGE: skipped, no data'; printf '%s' '{GOOD}'"))
        self.assertIn("skipped, no data", result.stdout)

    def test_one_suite_alone(self):
        result = self.run_on(("doctest", "false"), ("check", "true"), arguments=("--suite", "check"))
        self.assert_run(result, "1 passed, 0 failed", 0)


if __name__ == "__main__":
    unittest.main()
