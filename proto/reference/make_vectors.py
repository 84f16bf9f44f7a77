#!/usr/bin/env python3
"""Makes proto/vectors/ again, byte for byte. `--check` writes nothing and says what differs from what is committed."""

import argparse
import json
import pathlib
import sys

from wa_reference.errors import Refused
from wa_vectors import frames, handshake, messages, payloads, rekey, secret, streams

KINDS = {
    "secret": secret,
    "key_schedule": frames.KeySchedule,
    "frames": frames.Frames,
    "messages": messages,
    "payloads": payloads,
    "handshake": handshake,
    "rekey": rekey,
    "streams": streams,
}
VECTORS = pathlib.Path(__file__).resolve().parents[1] / "vectors"


def verdict(kind, case):
    """The reference's own word on a case: None or why it is refused."""
    try:
        KINDS[kind].run(case)
    except Refused as refused:
        return refused.word
    return None


def make():
    """path -> text"""
    files = {}
    for kind, module in KINDS.items():
        count = {"ok": 0, "refuse": 0}
        for case in module.cases():
            word = verdict(kind, case)
            if word != case.get("error"):
                raise SystemExit(f"{kind}/{case['name']}: {word}, the case says {case.get('error')}")
            path = VECTORS / kind / (case["name"] + ".json")
            if path in files:
                raise SystemExit(f"{path} twice")
            files[path] = json.dumps(case, indent=1, ensure_ascii=True) + "\n"
            count[case["expect"]] += 1
        if count["refuse"] < count["ok"] or not count["ok"]:
            raise SystemExit(f"{kind}: {count}")
        print(f"{kind}: {count['ok']} ok, {count['refuse']} refused")
    return files


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    files = make()
    there = set(VECTORS.glob("*/*.json"))
    wrong = 0
    for path in sorted(there - files.keys()):
        print(f"left over: {path.relative_to(VECTORS)}")
        wrong += 1
        if not check:
            path.unlink()
    for path, text in files.items():
        if path in there and path.read_text() == text:
            continue
        if check:
            print(f"differs: {path.relative_to(VECTORS)}")
            wrong += 1
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    sys.exit(1 if check and wrong else 0)


if __name__ == "__main__":
    main()
