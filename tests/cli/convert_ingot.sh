# Checkpoint -> .ingot (raw and compressed) -> the same checkpoint, byte for byte.
ingot convert "$DATA/tiny-llama" -o tiny.ingot --to ingot
ingot convert "$DATA/tiny-llama" -o small.ingot --to ingot --compress > /dev/null
[[ $(stat -c %s small.ingot) -lt $(stat -c %s tiny.ingot) ]]
for file in tiny small; do
  ingot verify $file.ingot --values
  ingot restore $file.ingot -o $file > /dev/null
  diff -r "$DATA/tiny-llama" $file
done
ingot verify tiny.ingot small.ingot
ingot verify "$DATA/tiny-llama" tiny.ingot
ingot convert tiny.ingot -o again.ingot --to ingot > /dev/null
cmp tiny.ingot again.ingot
ls -A
# What is no file of a checkpoint is left out, and named.
cp -r "$DATA/tiny-llama" odd
mkdir -p odd/.git/objects odd/empty
ln -s nowhere odd/dangling
mkfifo odd/pipe
ingot convert odd -o odd.ingot --to ingot 2>&1 > /dev/null
ingot restore odd.ingot -o back > /dev/null
rm -r odd/.git odd/empty odd/dangling odd/pipe
diff -r odd back
