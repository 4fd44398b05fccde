# A conversation becomes text through the model's template, with and without the beginning of a reply, and tokens.
cat > chat.json <<'END'
[{"role": "system", "content": "Be brief."}, {"role": "user", "content": " Hi, Größe? "}]
END
tokens() { ingot tokenize "$DATA/tiny-llama" --messages chat.json "$@"; }
tokens --rendered
echo ---
tokens --rendered --no-reply
echo ---
tokens --rendered --json
tokens --no-reply > rendered.txt
tokens --rendered --no-reply > text.txt
ingot tokenize "$DATA/tiny-llama" --bare --special < text.txt | cmp - rendered.txt && echo "the tokens of that text"
for bad in '{}' '[{"role": "user"}]' '[{"role": 1, "content": ""}]'; do
  echo "$bad" > bad.json
  ingot tokenize "$DATA/tiny-llama" --messages bad.json --rendered 2>&1 || echo "exit $?"
done
ingot tokenize "$DATA/tiny-llama" --rendered -p x 2>&1 | head -n 1
