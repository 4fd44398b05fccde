# The progress bar is for terminals that can go back on a line, and uses no escapes; elsewhere there is none.
python3 - <<'PYTHON'
import json, os, pty, struct, subprocess, sys
size = 600 * 10**6
text = json.dumps({"w": {"dtype": "F32", "shape": [size // 4000, 1000], "data_offsets": [0, size]}}).encode()
for name in ("a", "b"):
    with open(name + ".safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + size)


def said(**environment):
    """What the program writes to a terminal as its standard error."""
    ours, its = pty.openpty()
    child = subprocess.Popen(["ingot", "diff", "a.safetensors", "b.safetensors", "--threads", "1"],
                             stdout=subprocess.DEVNULL, stderr=its, env={**os.environ, **environment})
    os.close(its)
    text = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        text += piece
    assert child.wait() == 0
    return text


for environment in ({"TERM": "xterm"}, {"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}):
    text = said(**environment)
    print(environment, "bar" if b"[#" in text or b"[." in text else "no bar", "escapes" if b"\x1b" in text else "no escapes")
pieces = said(TERM="xterm", COLUMNS="80").split(b"\r")
drawn = [piece.rstrip() for piece in pieces if b"[" in piece]
print("whole" if drawn and all(piece.endswith(b"left") or piece.endswith(b"B/s") for piece in drawn) else drawn)
PYTHON
ingot diff a.safetensors b.safetensors --threads 1 2> err.txt > /dev/null
wc -c < err.txt
