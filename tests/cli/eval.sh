# Perplexity of the sample (transformers in float32: data/evaluation), a baseline and a state that serve again.
sample="$DATA/tiny-llama/sample.txt"
ingot eval "$DATA/tiny-llama" --text "$sample" --window 64 --exact --json > whole.json
sed 's/^./X/' "$sample" > other.txt
python3 - "$DATA/evaluation/expected_perplexity.json" <<'END'
import json, sys
got, expected = json.load(open("whole.json")), json.load(open(sys.argv[1]))
print(abs(got["perplexity"] / expected["perplexity"] - 1) < 1e-5, got["windows"] == expected["windows"])
END
ingot eval "$DATA/tiny-llama" --text "$sample" --window 64 --windows 3 --exact --save-baseline tiny.baseline
ingot eval "$DATA/tiny-llama" --text "$sample" --window 64 --windows 3 --exact --baseline tiny.baseline --state state.json > first.txt
ingot eval "$DATA/tiny-llama" --text "$sample" --window 64 --windows 3 --exact --baseline tiny.baseline --state state.json | cmp - first.txt
# The first windows of a longer baseline serve, those of a shorter one do not.
ingot eval "$DATA/tiny-llama" --text "$sample" --window 64 --windows 2 --exact --save-baseline two.baseline > /dev/null
for kept in tiny two; do
  ingot eval "$DATA/tiny-llama" --text "$sample" --window 64 --windows 2 --exact --baseline $kept.baseline > $kept.txt
done
cmp tiny.txt two.txt && grep -o 'same likeliest  *[0-9.]*' two.txt
ingot eval "$DATA/tiny-llama" --text "$sample" --window 64 --exact --baseline two.baseline 2>&1 || echo "exit $?"
ingot eval "$DATA/tiny-llama" --text other.txt --window 64 --windows 2 --exact --baseline tiny.baseline 2>&1 | grep -o 'tokens of the text'
# A state goes on with more windows, as if they had been wanted at first.
ingot eval "$DATA/tiny-llama" --text "$sample" --window 64 --windows 3 --exact --state more.json > /dev/null
cp more.json three.state
ingot eval "$DATA/tiny-llama" --text "$sample" --window 64 --exact --state more.json --json | cmp - whole.json
sed -n 's/.*"windows":\([0-9]*\).*/of \1 windows\n/p' more.json
ingot eval "$DATA/tiny-llama" --text "$sample" --window 64 --windows 2 --exact --state three.state 2>&1 || echo "exit $?"
ingot eval "$DATA/tiny-llama" --text other.txt --window 64 --exact --state three.state 2>&1 || echo "exit $?"
sed 's/(at most [0-9.]*) //' first.txt
ingot eval "$DATA/tiny-llama" --text "$sample" --window 32 --exact --state state.json 2>&1 || echo "exit $?"
ingot eval "$DATA/tiny-llama" --text "$sample" --window 32 --baseline tiny.baseline 2>&1 || echo "exit $?"
ingot eval "$DATA/tiny-llama" --text "$sample" --window 64 --windows 2 --against "$DATA/tiny-llama"
printf 'Short.' > short.txt
ingot eval "$DATA/tiny-llama" --text short.txt 2>&1 || echo "exit $?"
# A state belongs to a model, not to its name.
ingot convert "$DATA/tiny-llama" -o x.gguf --to gguf > report.txt
ingot eval x.gguf --text "$sample" --window 64 --windows 1 --state x.state > report.txt
ingot convert "$DATA/tiny-llama" -o x.gguf --to gguf --scheme q8_0 --allow requantize --force > report.txt
ingot eval x.gguf --text "$sample" --window 64 --state x.state 2>&1 | grep -o 'the state of another evaluation'
