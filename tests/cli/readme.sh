# What README.md shows is what its commands print, in order; times and rates may be others.
mkdir tests
ln -s "$DATA" tests/data
python3 - "$DATA/../../README.md" <<'PYTHON'
import re, subprocess, sys

samples = []  # (command, the lines shown)
for line in open(sys.argv[1], encoding="utf-8"):
    if line.startswith("    $ "):
        samples.append((line[6:].strip(), []))
        shown = samples[-1][1]
    elif line.startswith("    ") or not line.strip():
        if samples:
            shown.append(line[4:].rstrip())
    else:
        shown = []  # prose ends a sample


def comparable(lines):
    text = "\n".join(lines).strip()
    text = re.sub(r"[<~]?[0-9.]+ (s|[kMG]B/s|tokens/s)\b", r"TIME", text)
    return [re.sub(" +", " ", line.strip()) for line in text.split("\n")]


for command, shown in samples:
    run = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    expected, got = comparable(shown), comparable(run.stdout.split("\n"))
    print(command.split()[1], "as shown" if expected == got else f"\n--- README {expected}\n--- prints {got}")
PYTHON
