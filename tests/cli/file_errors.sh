# What the file system refuses is told as "path: action: reason".
ingot convert "$DATA/tiny-llama" -o m.ingot --to ingot > /dev/null
echo text > file
ingot restore m.ingot -o file/below 2>&1 || echo "exit $?"
ingot convert m.ingot -o "$(printf '%0252d' 0)" --to ingot 2>&1 > /dev/null | sed 's/0000*/0/g' || true
ln -s loop loop
ingot restore m.ingot -o loop 2>&1 || echo "exit $?"
ingot inspect loop 2>&1 || echo "exit $?"
