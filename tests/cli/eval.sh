# Perplexity of the sample (transformers in float32: data/evaluation), a baseline and a state that serve again.
sample="$DATA/tiny-llama/sample.txt"
ingot eval "$DATA/tiny-llama" --text "$sample" --window 64 --exact --json > whole.json
python3 - "$DATA/evaluation/expected_perplexity.json" <<'END'
import json, sys
got, expected = json.load(open("whole.json")), json.load(open(sys.argv[1]))
print(abs(got["perplexity"] / expected["perplexity"] - 1) < 1e-5, got["windows"] == expected["windows"])
END
ingot eval "$DATA/tiny-llama" --text "$sample" --window 64 --windows 3 --exact --save-baseline tiny.baseline
ingot eval "$DATA/tiny-llama" --text "$sample" --window 64 --windows 3 --exact --baseline tiny.baseline --state state.json > first.txt
ingot eval "$DATA/tiny-llama" --text "$sample" --window 64 --windows 3 --exact --baseline tiny.baseline --state state.json | cmp - first.txt
sed 's/(at most [0-9.]*) //' first.txt
ingot eval "$DATA/tiny-llama" --text "$sample" --window 32 --exact --state state.json 2>&1 || echo "exit $?"
ingot eval "$DATA/tiny-llama" --text "$sample" --window 32 --baseline tiny.baseline 2>&1 || echo "exit $?"
ingot eval "$DATA/tiny-llama" --text "$sample" --window 64 --windows 2 --against "$DATA/tiny-llama"
printf 'Short.' > short.txt
ingot eval "$DATA/tiny-llama" --text short.txt 2>&1 || echo "exit $?"
