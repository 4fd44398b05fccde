# Speeds are what they are; their document is complete, and the peer's program is run and understood.
ingot bench "$DATA/tiny-llama" --prompt 8 -n 2 --rounds 2 --probe 1 --threads 2 --json > bench.json
python3 - <<'END'
import json
got = json.load(open("bench.json"))
positive = ["load_seconds", "resident_bytes", "owned_bytes", "read_bytes_per_second", "weight_bytes_per_token"]
print(all(got[key] > 0 for key in positive), got["threads"], got["numerics"], len(got["rounds"]), got["read_streams"] in (1, 2, 4, 8))
print(all(r["prompt_seconds"] > 0 and r["token_seconds"] > 0 and r["read_bytes_per_second"] > 0 for r in got["rounds"]))
print({s["scheme"] for s in got["schemes"]}, all(s["bytes"] > 0 and s["seconds"] > 0 and s["read_bytes_per_second"] > 0 for s in got["schemes"]))
print(got["schemes"][0]["kernels"] == got["kernels"], got["schemes"][-1]["kernels"], len({s["kernels"] for s in got["schemes"]}) == len(got["schemes"]))
print(all(s["prompt_vectors"] == 128 and s["prompt_operations"] % 256 == 0 and s["prompt_seconds"] > 0 for s in got["schemes"]))
END
ingot convert "$DATA/tiny-llama" -o tiny.gguf --to gguf > /dev/null
cat > llama-bench <<'END'
#!/bin/sh
echo "$@" > arguments
echo '[{"n_prompt": 8, "n_gen": 0, "avg_ns": 500000000}, {"n_prompt": 0, "n_gen": 4, "avg_ns": 2000000000}]'
END
chmod +x llama-bench
ingot bench tiny.gguf --prompt 8 -n 4 --rounds 1 --probe 1 --threads 1 --against ./llama-bench --json > against.json
cat arguments
python3 -c 'import json; print(json.load(open("against.json"))["against"])'
ingot bench "$DATA/tiny-llama" --prompt 8 -n 4 --rounds 1 --probe 1 | grep -c 'prompt of\|one token'
INGOT_KERNELS=portable ingot bench "$DATA/tiny-llama" --prompt 8 -n 4 --rounds 1 --probe 1 | grep -o '^bf16  *[a-z0-9]*' | tr -s ' '
printf '#!/bin/sh\nexit 4\n' > broken
chmod +x broken
ingot bench tiny.gguf -n 1 --rounds 1 --probe 1 --threads 1 --against ./broken 2>&1 || echo "exit $?"
ingot bench tiny.gguf -n 1 --rounds 1 --probe 1 --against ./absent 2>&1 || echo "exit $?"
ingot bench "$DATA/tiny-llama" --against ./llama-bench 2>&1 | sed "s|$DATA|DATA|"
