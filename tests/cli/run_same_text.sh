# The same greedy text from the checkpoint, from the .ingot and from the GGUF; and what transformers says.
ingot convert "$DATA/tiny-llama" -o m.ingot --to ingot > /dev/null
ingot convert m.ingot -o m.gguf --to gguf > /dev/null
for model in "$DATA/tiny-llama" m.ingot m.gguf; do
  ingot run "$model" -p 'Once upon a time' -n 64 2> statistics.txt | sha256sum
  grep -Eq '^prompt [0-9]+ tokens in .* stopped: (length|end)$' statistics.txt
done | sort -u | wc -l
ingot run m.ingot -p 'Once upon a time' -n 1 > short.txt 2> /dev/null
grep -q '^Once upon a time' short.txt
echo 'Once upon a time' | tr -d '\n' | ingot run m.ingot -n 1 2> /dev/null | cmp - short.txt
a=$(ingot run m.ingot -p 'Once' -n 20 --temperature 1 --seed 7 2> /dev/null)
b=$(ingot run m.ingot -p 'Once' -n 20 --temperature 1 --seed 7 2> /dev/null)
c=$(ingot run m.ingot -p 'Once' -n 20 --temperature 1 --seed 8 2> /dev/null)
[[ $a == "$b" && $a != "$c" ]]
