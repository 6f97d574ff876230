# The same over gRPC: exact integers, halves, small integers, statistics, the index, labels.
import sys

import numpy as np
import queue

import tritonclient.grpc as http

client = http.InferenceServerClient(url=sys.argv[1])


def infer(model, arrays, names, binary, **options):
    inputs = []
    for name, array in arrays.items():
        given = http.InferInput(name, array.shape, DATATYPES[array.dtype])
        given.set_data_from_numpy(array)
        inputs.append(given)
    wanted = [http.InferRequestedOutput(name, **options) for name in names]
    return client.infer(model, inputs, outputs=wanted, request_id="mine", timeout=5_000_000, priority=1)


DATATYPES = {np.dtype("O"): "BYTES", np.dtype("int8"): "INT8", np.dtype("float16"): "FP16", np.dtype("uint64"): "UINT64", np.dtype("float32"): "FP32"}

a = np.arange(32, dtype=np.int8).reshape(2, 16)
for binary in (True, False):
    result = infer("simple_int8", {"INPUT0": a, "INPUT1": a}, ["OUTPUT0", "OUTPUT1"], binary)
    assert np.array_equal(result.as_numpy("OUTPUT0"), a + a), "int8"
    assert result.get_response().id == "mine", "id"

large = np.full((1, 16), 2**64 - 1, dtype=np.uint64)
for binary in (True, False):
    result = infer("identity_uint64", {"INPUT0": large}, ["OUTPUT0"], binary)
    assert np.array_equal(result.as_numpy("OUTPUT0"), large), "uint64"

texts = np.array([["he llo".encode()] * 16], dtype=np.object_)
for binary in (True, False):
    result = infer("simple_identity", {"INPUT0": texts}, ["OUTPUT0"], binary).as_numpy("OUTPUT0")
    assert list(result.flatten()) == list(texts.flatten()), "strings"

half = np.linspace(-4, 4, 16, dtype=np.float16).reshape(1, 16)
assert np.array_equal(infer("identity_fp16", {"INPUT0": half}, ["OUTPUT0"], True).as_numpy("OUTPUT0"), half), "fp16"

image = np.zeros((1, 3, 32, 32), dtype=np.float32)
image[0, 1] = 3
top = infer("colours", {"image": image}, ["scores"], True, class_count=2).as_numpy("scores")
assert [entry.decode().split(":")[1:] for entry in top.flatten()][0] == ["1", "green"], f"classification: {top}"

stats = client.get_inference_statistics("simple_int8").model_stats[0]
assert stats.inference_count >= 4, stats
assert stats.inference_stats.success.count >= 2, stats
assert {entry.name for entry in client.get_model_repository_index().models} >= {"simple", "simple_int8"}, "index"
assert client.is_model_ready("simple", "1"), "ready"
assert client.get_model_config("simple").config.name == "simple", "config"
client.get_trace_settings()
client.get_log_settings()

answers = queue.Queue()
client.start_stream(callback=lambda result, error: answers.put((result, error)))
given = http.InferInput("INPUT0", half.shape, "FP16")
given.set_data_from_numpy(half)
for name in ("identity_fp16", "nobody", "identity_fp16"):
    client.async_stream_infer(name, [given], enable_empty_final_response=True)
kinds = [answers.get(timeout=10) for _ in range(3)]
client.stop_stream()
assert [error is None for _, error in kinds] == [True, False, True], kinds
assert np.array_equal(kinds[2][0].as_numpy("OUTPUT0"), half), "stream"
assert kinds[0][0].get_response().parameters["triton_final_response"].bool_param, "final"
assert "unknown model" in str(kinds[1][1]), kinds[1]
try:
    client.register_system_shared_memory("region", "/region", 64)
    raise SystemExit("shared memory was taken")
except http.InferenceServerException as error:
    assert "not offered here" in error.message() and error.status() == "StatusCode.UNIMPLEMENTED", error
print("PASS")
