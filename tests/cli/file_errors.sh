# What the file system refuses is told as "path: action: reason".
ingot convert "$DATA/tiny-llama" -o m.ingot --to ingot > /dev/null
echo text > file
ingot restore m.ingot -o file/below 2>&1 || echo "exit $?"
ingot convert m.ingot -o "$(printf '%0252d' 0)" --to ingot 2>&1 > /dev/null | sed 's/0000*/0/g' || true
ln -s loop loop
ingot restore m.ingot -o loop 2>&1 || echo "exit $?"
ingot inspect loop 2>&1 || echo "exit $?"
# What a clone holds in place of a large file is called that, alone, as the weights and where nothing else is.
mkdir clone other
cp "$DATA/tiny-llama/config.json" clone
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n' | tee clone/model.safetensors other/pytorch_model.bin > model.gguf
for place in clone other model.gguf; do ingot inspect $place 2>&1 || echo "exit $?"; done
# Weights of MLX whose sizes nothing tells are not guessed; the message says where they are.
ingot convert "$DATA/tiny-llama" -o small --to mlx --scheme 8bit-g32 --allow requantize > /dev/null
mv small/config.json .
ingot inspect small 2>&1 > /dev/null | sed 's/tensor .*: groups/tensor: groups/' || true
# A prompt is printed when it has been read.
ingot run "$DATA/tiny-llama" -p 'A prompt' --prompt-cache config.json 2> /dev/null || echo "exit $?"
# So is a limit on the size of files, and nothing is left behind.
(ulimit -f 100 && ingot convert "$DATA/tiny-llama" -o large.ingot --to ingot 2>&1 > /dev/null || echo "exit $?") | sed 's/byte [0-9]*/byte N/'
find . -name '*large*'
