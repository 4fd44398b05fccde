# One flipped bit in the weights is found, in a file and between two files; a cut file does not open.
ingot convert "$DATA/tiny-llama" -o good.ingot --to ingot > /dev/null
cp good.ingot bad.ingot
offset=$(ingot inspect good.ingot --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["file"]["file_bytes"] // 2)')
python3 - "$offset" <<'PYTHON'
import sys
with open("bad.ingot", "r+b") as file:
    file.seek(int(sys.argv[1]))
    byte = file.read(1)[0]
    file.seek(int(sys.argv[1]))
    file.write(bytes([byte ^ 1]))
PYTHON
if ingot verify bad.ingot; then exit 1; fi
if ingot verify good.ingot bad.ingot > unequal.txt; then exit 1; fi
head -n 1 unequal.txt
if ingot verify bad.ingot --json > bad.json; then exit 1; fi
python3 -c 'import json; r = json.load(open("bad.json")); print(r["intact"], r["findings"][0]["kind"])'
head -c 100000 good.ingot > cut.ingot
if ingot inspect cut.ingot; then exit 1; fi
ls -A
if ingot convert bad.ingot -o again.ingot --to ingot > /dev/null 2> why.txt; then exit 1; fi
grep -q '^ingot: again.ingot: tensor .*fingerprint' why.txt  # names the output, not the staging directory
if ingot convert bad.ingot -o out.gguf --to gguf > /dev/null 2> why.txt; then exit 1; fi
grep -o 'the source is damaged' why.txt
