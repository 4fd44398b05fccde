#!/usr/bin/env python3
"""Runs the independent reader on every vector: valid ones must give the recorded values, invalid ones the error kind in their name.
    check_vectors.py DIRECTORY [more .ingot files that must verify ...]
"""
import json
import os
import sys

import numpy as np

import ingot_reader as R


def check_valid(path):
    file = R.IngotFile(path)
    with open(path[:-6] + ".json") as handle:
        expected = json.load(handle)
    assert list(expected) == [t["name"] for _, t in file.tensors], "tensor names in model order"
    for owner, tensor in file.tensors:
        bits, want = owner.decode(tensor), expected[tensor["name"]]
        if want["bits"]:
            assert "".join(f"{int(b):08x}" for b in bits) == want["bits"], tensor["name"]
        assert R.fingerprint(tensor["shape"], np.asarray(bits)).hex() == want["fingerprint"] == tensor["fingerprint"], tensor["name"]


def check_invalid(path):
    try:
        file = R.IngotFile(path)
        for owner, tensor in file.tensors:
            owner.decode(tensor)
    except R.IngotError as error:
        kind = os.path.basename(path).split("__")[0]
        assert error.kind == kind, f"{path}: expected {kind}, got {error}"
        return
    raise AssertionError(f"{path} was accepted")


def main(directory, more):
    count = 0
    for folder, check in (("valid", check_valid), ("invalid", check_invalid)):
        for name in sorted(os.listdir(os.path.join(directory, folder))):
            if name.endswith(".ingot"):
                check(os.path.join(directory, folder, name))
                count += 1
    for path in more:
        R.main(path)
        count += 1
    assert count, "no vectors found"
    print(f"{count} files agree with the specification's reader")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
