// A worker with the model, which onnxruntime-web runs, and the rules. It answers the questions of onnx_source.js.

import * as ort from "./onnxruntime.js";
import { readPgn } from "./pgn.js";
import { positionData } from "./position_data.js";

ort.env.wasm.numThreads = 1; // several need headers that static servers do not send
ort.env.wasm.wasmPaths = { wasm: new URL("onnxruntime.wasm", import.meta.url).href };
const loading = ort.InferenceSession.create(new URL("model_fp16.onnx", import.meta.url).href).catch((error) => {
  throw new Error(`The model cannot be loaded: ${error.message}`);
});

async function run(inputs) {
  const session = await loading;
  const tensor = (rows) => new ort.Tensor("int64", BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0].length]);
  return session.run(Object.fromEntries(Object.entries(inputs).map(([name, rows]) => [name, tensor(rows)])));
}

const ANSWERS = { position: (body, network) => positionData(body, network, run), pgn: ({ text }) => readPgn(text) };
// One question at a time: a session runs once at a time.
let last = Promise.resolve();
onmessage = ({ data: { id, name, body, network } }) => {
  last = last.then(() => ANSWERS[name](body, network)).then(
    (result) => postMessage({ id, result }),
    (error) => postMessage({ id, error: error.message.split("\n")[0] }),
  );
};
