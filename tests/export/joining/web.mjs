// node web.mjs FOLDER FILE HEIGHT WIDTH < image.raw > output.raw: the file in onnxruntime-web, float32 (1, 3, H, W)
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [folder, file, height, width] = process.argv.slice(2);
const ort = createRequire(folder + "/")("onnxruntime-web");
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(file)), { executionProviders: ["wasm"] });
const bytes = new Uint8Array(readFileSync(0));
const image = new ort.Tensor("float32", new Float32Array(bytes.buffer), [1, 3, Number(height), Number(width)]);
const { output } = await session.run({ image });
process.stdout.write(new Uint8Array(output.data.buffer, output.data.byteOffset, output.data.byteLength));
