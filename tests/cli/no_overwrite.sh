# An existing output is kept, --force replaces it, and no staging directory is left behind.
ingot convert "$DATA/tiny-llama" -o out.ingot --to ingot > /dev/null
before=$(sha256sum out.ingot)
if ingot convert "$DATA/tiny-llama" -o out.ingot --to ingot --compress > early.txt; then exit 1; fi
[[ ! -s early.txt ]]  # refused before all tensors are looked at
rm early.txt
[[ $(sha256sum out.ingot) == "$before" ]]
ingot convert "$DATA/tiny-llama" -o out.ingot --to ingot --compress --force > /dev/null
[[ $(sha256sum out.ingot) != "$before" ]]
if ingot convert "$DATA/tiny-llama" -o nowhere/out.ingot --to ingot > /dev/null; then exit 1; fi
ingot restore out.ingot -o restored > /dev/null
if ingot restore out.ingot -o restored; then exit 1; fi
ingot restore out.ingot -o restored --force > /dev/null
ls -A
# Nor does a report or a baseline replace the output, the source or anything else but one of its kind.
cp -r "$DATA/tiny-llama" source
refused() { ingot "$@" 2>&1 > /dev/null && exit 1 || true; }
refused convert source -o new.ingot --to ingot --report new.ingot
refused convert source -o new.ingot --to ingot --report ./new.ingot
refused convert source -o new.ingot --to ingot --report source/config.json
refused convert source -o restored --to hf --force --report restored/proof.json
refused convert source -o new.ingot --to ingot --report restored
refused eval source --text source/sample.txt --window 64 --windows 1 --save-baseline source/sample.txt
refused eval source --text source/sample.txt --window 64 --windows 1 --save-baseline source/model.safetensors
diff -r "$DATA/tiny-llama" source
for again in 1 2; do
  ingot convert source -o new.ingot --to ingot --force --report proof.json > /dev/null
  ingot eval source --text source/sample.txt --window 64 --windows 1 --save-baseline base > /dev/null
done
ingot verify new.ingot > /dev/null
python3 -c 'import json; print(len(json.load(open("proof.json"))["proofs"]))'
