"""tools/setup.sh: what `need` installs, and how, on machines played by stand-ins for apt-get, dpkg-query, sudo and id."""
import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMON = ["bash", "cat", "dirname", "env", "grep", "sed", "tr"]   # all that the script may rely on besides


class Machine:
    """A folder as the only PATH. Packages in `installed` are there; apt-get installs those in `available`."""

    def __init__(self, installed=(), available=None, user=0, sudo=None, apt=True, fresh_lists=True):
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name)
        for name in COMMON:
            found = next(p for p in ("/usr/bin", "/bin") if os.path.exists(f"{p}/{name}"))
            (self.path / name).symlink_to(f"{found}/{name}")
        (self.path / "installed").write_text("".join(f"{name}\n" for name in installed))
        for name in installed:   # programs are looked for by their own name
            self.script({"ninja-build": "ninja", "gnuplot-nox": "gnuplot"}.get(name, name), "exit 0")
        self.script("id", f"echo {user}")
        if apt:
            self.script("dpkg-query", f"""for last; do :; done
                grep -qx -- "$last" {self.path}/installed && printf installed""")
            known = "*" if available is None else "|".join(available) or "nothing"
            self.script("apt-get", f"""echo "$*" >> {self.path}/log
                while [ $# -gt 0 ] && [ "$1" != install ]; do
                  [ "$1" = update ] && {{ : > {self.path}/updated; exit 0; }}
                  shift
                done
                shift
                {"" if fresh_lists else f"[ -e {self.path}/updated ] || exit 100"}
                for name; do case $name in {known}) ;; *) exit 100 ;; esac; done
                for name; do echo "$name" >> {self.path}/installed; done""")
        if sudo is not None:
            self.script("sudo", f"""[ {sudo} = passwordless ] || exit 1
                [ "$1" = -n ] && shift
                echo "sudo $1" >> {self.path}/log
                exec "$@" """)
        self.script("true", "exit 0")

    def script(self, name, text):
        (self.path / name).write_text(f"#!/bin/bash\n{text}\n")
        (self.path / name).chmod(0o755)

    def need(self, *parts):
        """Runs `need PARTS` there; returns (exit status, what was said, what apt-get was asked)."""
        result = subprocess.run([self.path / "bash", "-euo", "pipefail", "-c", '. "$0"; need "$@"; echo went on',
                                 ROOT / "tools" / "setup.sh", *parts],
                                capture_output=True, text=True, env={"PATH": str(self.path)})
        log = self.path / "log"
        return result.returncode, result.stdout + result.stderr, log.read_text() if log.exists() else ""


class Need(unittest.TestCase):
    def machine(self, **facts):
        machine = Machine(**facts)
        self.addCleanup(machine.folder.cleanup)
        return machine

    def test_nothing_missing_means_nothing_done(self):
        status, said, asked = self.machine(installed=["doctest-dev", "libopenmpi-dev", "openmpi-bin", "iproute2"]).need("test")
        self.assertEqual((status, said, asked), (0, "went on\n", ""))

    def test_root_installs_what_is_missing_and_says_what(self):
        machine = self.machine(installed=["g++", "meson", "git", "python3"])
        status, said, asked = machine.need("build", "test")
        self.assertEqual(status, 0, said)
        self.assertIn("installing ninja-build pkg-config libeigen3-dev", said)
        self.assertIn("doctest-dev", asked)
        self.assertNotIn("g++", asked)
        self.assertEqual(machine.need("build", "test")[1], "went on\n")   # the second time there is nothing to do

    def test_an_optional_package_may_be_unavailable(self):
        status, said, _ = self.machine(available=["libbenchmark-dev"]).need("run")
        self.assertEqual(status, 0, said)
        self.assertIn("going on without gnuplot-nox", said)

    def test_old_lists_are_fetched_and_the_installation_tried_again(self):
        status, said, asked = self.machine(fresh_lists=False).need("test")
        self.assertEqual(status, 0, said)
        self.assertEqual(asked.count("update"), 1)

    def test_a_needed_package_that_cannot_be_had_is_an_error(self):
        status, said, _ = self.machine(available=[]).need("test")
        self.assertEqual(status, 3)
        self.assertIn("could not install: doctest-dev", said)
        self.assertNotIn("went on", said)

    def test_a_user_with_passwordless_sudo_installs(self):
        status, said, asked = self.machine(user=1000, sudo="passwordless").need("test")
        self.assertEqual(status, 0, said)
        self.assertIn("sudo env", asked)

    def test_another_user_is_told_the_command(self):
        for sudo in (None, "asks"):
            with self.subTest(sudo=sudo):
                status, said, asked = self.machine(user=1000, sudo=sudo).need("test", "run")
                self.assertEqual((status, asked), (3, ""))
                self.assertIn("sudo apt-get install doctest-dev libopenmpi-dev openmpi-bin iproute2 gnuplot-nox", said)

    def test_optional_packages_alone_stop_nobody(self):
        status, said, asked = self.machine(user=1000).need("run")
        self.assertEqual((status, asked), (0, ""))
        self.assertIn("optional packages not installed: gnuplot-nox", said)

    def test_without_apt_the_build_is_tried_with_what_is_there(self):
        status, said, _ = self.machine(apt=False).need("test")
        self.assertEqual(status, 0, said)
        self.assertIn("doctest-dev", said)


if __name__ == "__main__":
    unittest.main()
