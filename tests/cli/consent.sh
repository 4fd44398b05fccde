# A lossy conversion is forecast, refused, and done only with --allow; the proof then tells the error.
ingot convert "$DATA/tiny-llama" -o lossy.gguf --to gguf --scheme q8_0 --dry-run
if ingot convert "$DATA/tiny-llama" -o lossy.gguf --to gguf --scheme q8_0 > refused.txt 2> why.txt; then exit 1; fi
grep -q 'not exact without consent: 29 tensors .*--allow requantize' why.txt
grep -q requantized refused.txt
ls -A
ingot convert "$DATA/tiny-llama" -o lossy.gguf --to gguf --scheme q8_0 --allow requantize --report proof.json | tee proof.txt | sed -n '/^Proof/,$p'
if grep -q ULP proof.txt; then exit 1; fi  # of values rounded to few codes, units of the last place say nothing
python3 - <<'PYTHON'
import json
report = json.load(open("proof.json"))
lossy = [p for p in report["proofs"] if p["reached"] == "requantized"]
assert len(report["proofs"]) == 38 and len(lossy) == 29
assert all(0.4 < p["worst_error_steps"] < 0.6 for p in lossy), lossy
assert report["fingerprint_before"] != report["fingerprint_after"]
PYTHON
if ingot verify "$DATA/tiny-llama" lossy.gguf > unequal.txt; then exit 1; fi
head -n 1 unequal.txt
if ingot diff "$DATA/tiny-llama" lossy.gguf > difference.txt; then exit 1; fi
head -n 1 difference.txt
# A large file that goes along is named.
cp -r "$DATA/tiny-llama" large
mkdir large/original
truncate -s 70M large/original/consolidated.00.pth
ingot convert large --to ingot --dry-run 2>&1 > /dev/null
ingot convert large --to gguf --dry-run 2>&1 > /dev/null
# A forecast needs no output, whatever else is given; an output needs a name and a directory before anything is looked at.
ingot convert "$DATA/tiny-llama" --to gguf --dry-run --report none.json > /dev/null
echo "exit $?, reports: $(find . -name none.json | wc -l)"
ingot convert "$DATA/tiny-llama" -o . --to hf 2>&1 || echo "exit $?"
ingot convert "$DATA/tiny-llama" -o absent/out --to hf 2>&1 || echo "exit $?"
