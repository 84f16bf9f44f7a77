"""What is committed is what make_vectors.py makes, and the reference says of every file what the file says."""

import json
import subprocess
import sys
import unittest

from make_vectors import KINDS, VECTORS, verdict


class Vectors(unittest.TestCase):
    def test_committed_ones_are_made_here(self):
        script = VECTORS.parent / "reference" / "make_vectors.py"
        done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_every_file(self):
        self.assertEqual({path.name for path in VECTORS.iterdir() if path.is_dir()}, set(KINDS))
        for kind in KINDS:
            for path in sorted((VECTORS / kind).glob("*.json")):
                with self.subTest(f"{kind}/{path.name}"):
                    case = json.loads(path.read_text())
                    self.assertEqual(case["name"], path.stem)
                    self.assertEqual(case["expect"], "refuse" if "error" in case else "ok")
                    self.assertEqual(verdict(kind, case), case.get("error"))


if __name__ == "__main__":
    unittest.main()
