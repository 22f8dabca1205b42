"""tools/kill_and_resume.py with a few kills, and that it sees a difference. OSTEON names the program."""
import subprocess
import sys
import unittest

from program import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import kill_and_resume  # noqa: E402


class KillAndResume(unittest.TestCase):
    def test_a_killed_sweep_ends_as_a_whole_one(self):
        done = subprocess.run([sys.executable, ROOT / "tools/kill_and_resume.py", "4", "--seed", "3"], capture_output=True, text=True,
                              timeout=600)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("4 kills (group 1, ablate 1, run 1, term 1)", done.stdout)

    def test_a_difference_is_seen(self):
        whole = {"final/a": {"evaluation": 1, "items": [1]}, "final/b": {"evaluation": 2, "items": [0]}}
        self.assertEqual(kill_and_resume.differences(whole, whole), [])
        other = {"final/a": {"evaluation": 1, "items": [0]}, "final/c": {}}
        self.assertEqual(kill_and_resume.differences(whole, other),
                         ["final/b: missing", "final/c: too many", "final/a: items differs"])


if __name__ == "__main__":
    unittest.main()
