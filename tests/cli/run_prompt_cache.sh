# A prompt that was kept is not computed again, and changes nothing of what is said.
ask() { ingot run "$DATA/tiny-llama" -n 24 --ignore-end "$@" 2> statistics.txt; }
from_cache() { grep -o '[0-9]* tokens\? from the prompt cache' statistics.txt; }
long='Once upon a time there was a girl named Lily. She liked to play in the garden.'
ask -p "$long" > plain.txt
grep -c 'prompt cache' statistics.txt || true
for run in writes reads; do
  ask -p "$long" --prompt-cache kept | cmp - plain.txt
  from_cache
done
ask -p 'Once upon a time there was a dog.' > plain.txt
ask -p 'Once upon a time there was a dog.' --prompt-cache kept | cmp - plain.txt
from_cache
ask -p 'Once upon a time' --json --prompt-cache kept | python3 -c '
import json, sys
turn = json.load(sys.stdin)
print("cached", turn["cached_tokens"], "computed", turn["prompt_tokens"])'
printf 'Hello.\nAnd then?\n' | ask --chat --prompt-cache chat > first.txt
printf 'Hello.\nAnd then?\n' | ask --chat --prompt-cache chat | cmp - first.txt
from_cache
ls
# Refusals name the file and the place, and leave it as it is.
cp kept before
for other in '--kv q8' '--exact --kv f16'; do
  ask -p "$long" --prompt-cache kept $other > /dev/null || echo "exit $?"
  cat statistics.txt
done
truncate -s -1 kept
ask -p "$long" --prompt-cache kept > /dev/null || echo "exit $?"
cat statistics.txt
ask -p "$long" --prompt-cache "$DATA/tiny-llama/config.json" > /dev/null || echo "exit $?"
sed "s,$DATA,DATA," statistics.txt
cmp before kept 2> /dev/null || cmp -n "$(stat -c %s kept)" before kept
# One that cannot be written takes nothing of the text away.
ask -p "$long" > plain.txt
{ ask -p "$long" --prompt-cache absent/kept || echo "exit $?" > status; } | cmp - plain.txt
cat status
sed -n '/^ingot/p' statistics.txt
ask -p "$long" --prompt-cache absent/kept --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["prompt_cache_fault"])'
# Nothing of a prompt is printed that could not be read.
{ ask -p 'Once upon a time' --prompt-cache "$DATA/tiny-llama/config.json" || true; } | cat -A
# A link stays one: the file that it leads to is replaced.
mkdir store
ln -s store/linked link
ask -p "$long" --prompt-cache link > /dev/null
ask -p "$long" --prompt-cache link > /dev/null
from_cache
[[ -L link && -s store/linked ]] && echo "still a link"
