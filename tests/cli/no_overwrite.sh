# An existing output is kept, --force replaces it, and no staging directory is left behind.
ingot convert "$DATA/tiny-llama" -o out.ingot --to ingot > /dev/null
before=$(sha256sum out.ingot)
if ingot convert "$DATA/tiny-llama" -o out.ingot --to ingot --compress > /dev/null; then exit 1; fi
[[ $(sha256sum out.ingot) == "$before" ]]
ingot convert "$DATA/tiny-llama" -o out.ingot --to ingot --compress --force > /dev/null
[[ $(sha256sum out.ingot) != "$before" ]]
if ingot convert "$DATA/tiny-llama" -o nowhere/out.ingot --to ingot > /dev/null; then exit 1; fi
ingot restore out.ingot -o restored > /dev/null
if ingot restore out.ingot -o restored; then exit 1; fi
ingot restore out.ingot -o restored --force > /dev/null
ls -A
