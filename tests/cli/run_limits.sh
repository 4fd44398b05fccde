# Numbers that mean nothing are refused before the model is read, and the message says what is allowed.
refused() { ingot run "$DATA/tiny-llama" -p text -n 1 "$@" 2>&1 > /dev/null | head -n 1 || true; }
for value in nan inf -1 100.5 warm; do refused --temperature $value; done
for value in 0 1.01 nan -0.5; do refused --top-p $value; done
for value in -0.1 2; do refused --min-p $value; done
for value in -1 4294967296; do refused --top-k $value; done
for value in -1 1.5 18446744073709551616; do refused --seed $value; done
for value in -1 many; do refused -n $value; done
refused --context -1
code=0
ingot run "$DATA/tiny-llama" -p text --top-p nan > out.txt 2> /dev/null || code=$?
echo "exit $code, $(wc -c < out.txt) bytes"
ingot run "$DATA/tiny-llama" -p 'Once upon a time' -n 4 --temperature 100 --top-p 1 --min-p 1 --top-k 0 \
  --seed 18446744073709551615 2> /dev/null
