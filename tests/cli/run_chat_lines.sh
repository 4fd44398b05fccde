# In a pipe every line is a message of one chat; its end ends the chat. A chat of one line is that of -p.
ask() { ingot run "$DATA/tiny-llama" --chat --system 'You tell short stories.' -n 24 --ignore-end "$@" 2> /dev/null; }
ask -p 'Tell me a story about Lily.' > one.txt
printf 'Tell me a story about Lily.' | ask | cmp - one.txt
printf '\nTell me a story about Lily.\n\nAnd then?\n' | ask > two.txt
cmp -n "$(stat -c %s one.txt)" one.txt two.txt
[[ $(stat -c %s two.txt) -gt $(stat -c %s one.txt) ]]
printf 'Tell me a story about Lily.\nAnd then?\n' | ask --json > two.json
python3 - <<'PYTHON'
import json
turns = json.load(open("two.json"))["turns"]
print(len(turns), "".join(turn["text"] + "\n" for turn in turns) == open("two.txt").read())
PYTHON
ask < /dev/null | wc -c
ingot run --help | grep -c 'every line of the standard input is a message'
# Where the context is full, the document still has the replies before.
printf 'Hello.\nAnd then?\n' | ingot run "$DATA/tiny-llama" --chat -n 5 --context 24 --json 2> error.txt > full.json || echo "exit $?"
python3 - <<'PYTHON'
import json
document = json.load(open("full.json"))
print([turn["stop_reason"] for turn in document["turns"]], document["error"]["kind"])
PYTHON
sed "s|$DATA|DATA|" error.txt
