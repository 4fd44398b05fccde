# What is wrong with a config, a tokenizer or a template is said with the model's name, by every verb that runs it.
cp -r "$DATA/tiny-llama" model
with() {  # FILE EXPRESSION COMMAND..: runs it on a copy whose JSON `j` was changed
  rm -rf changed && cp -r model changed
  python3 - "changed/$1" "$2" <<'PYTHON'
import json, sys
j = json.load(open(sys.argv[1]))
exec(sys.argv[2])
json.dump(j, open(sys.argv[1], "w"))
PYTHON
  shift 2
  local code=0
  "$@" 2>&1 > out.txt | sed 's/^/  /' || code=$?
  [[ ! -s out.txt ]] || echo "  text"
}
text() { ingot run changed -p Once -n 1; }
for change in 'j["hidden_act"] = "relu6"' 'j["num_key_value_heads"] = 3' 'j["rope_parameters"] = {"rope_type": "odd"}' \
  'j["rope_parameters"] = {"rope_type": "linear"}' 'j["rope_parameters"] = {"rope_type": "linear", "factor": 0}' \
  'j["rope_parameters"] = {"rope_theta": -5}' 'j["rms_norm_eps"] = -1'; do
  echo "$change"
  with config.json "$change" text
done
echo "a token that is none"
with config.json 'j["eos_token_id"] = [1, 99999]; j["bos_token_id"] = -7' ingot tokenize changed -p Once
echo "a tokenizer of another kind"
for verb in 'run changed -p Once' 'tokenize changed -p Once' 'eval changed --text model/config.json'; do
  with tokenizer.json 'j["model"]["type"] = "WordPiece"' ingot $verb
done
with tokenizer.json 'j["model"]["type"] = "WordPiece"' ingot check changed
grep -o 'not run: .*' out.txt
echo "a broken tokenizer and template"
echo '[]' > none.json
with tokenizer.json 'j["normalizer"] = {"type": "Nmt"}' text
with tokenizer_config.json 'j["chat_template"] = "{{ messages | foo }}"' ingot run changed --chat -p Hello -n 1
with tokenizer_config.json 'del j["chat_template"]' ingot tokenize changed --messages none.json
echo "a context that is full"
with config.json '' sh -c 'yes word | head -n 400 | ingot run changed -n 1 --context 16'
echo "GGUF"
ingot convert model -o whole.gguf --to gguf > /dev/null
number() {  # KEY VALUE: of a float
  python3 - "$1" "$2" <<'PYTHON'
import struct, sys
data = bytearray(open("whole.gguf", "rb").read())
at = data.index(sys.argv[1].encode()) + len(sys.argv[1]) + 4  # the type of the value lies between
data[at:at + 4] = struct.pack("<f" if "." in sys.argv[2] else "<I", eval(sys.argv[2]))
open("changed.gguf", "wb").write(data)
PYTHON
  ingot run changed.gguf -p Once -n 1 2>&1 > /dev/null | head -n 1 | grep -v '^prompt' || true
}
number llama.rope.freq_base -1.0
number llama.rope.freq_base 0.0
number llama.attention.layer_norm_rms_epsilon -1.0
number tokenizer.ggml.eos_token_id 99999
number tokenizer.ggml.eos_token_id 4294967295
