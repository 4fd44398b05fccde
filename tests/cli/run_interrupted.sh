# Ctrl-C ends the text, not the words about it, and the exit status tells.
python3 - "$DATA/tiny-llama" <<'END'
import os, signal, subprocess, sys
prompt = "Once upon a time"
child = subprocess.Popen(["ingot", "run", sys.argv[1], "-p", prompt, "-n", "500", "--ignore-end", "--exact", "--threads", "1"],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "INGOT_KERNELS": "portable"})
text = b""
while len(text) <= len(prompt) + 1:
    piece = os.read(child.stdout.fileno(), 4096)
    if not piece:
        sys.exit("ended early: " + child.stderr.read().decode())
    text += piece
child.send_signal(signal.SIGINT)
text, statistics = (text + child.stdout.read()).decode(), child.stderr.read().decode()
print(child.wait(), text.startswith(prompt), text.endswith("\n"), statistics.rsplit(", ", 1)[-1].strip())
END
