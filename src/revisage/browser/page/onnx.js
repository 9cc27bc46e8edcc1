/** Networks run by ONNX Runtime Web, from files of this page's own folder. */

const RUNTIME = new URL("./onnxruntime/", import.meta.url);
const MODELS = new URL("./models/", import.meta.url);

const BUILDS = {
  webgpu: { module: "ort.webgpu.min.js", loader: "ort-wasm-simd-threaded.asyncify" },
  wasm: { module: "ort.wasm.min.js", loader: "ort-wasm-simd-threaded" },
};

const MOST_THREADS = 4;

/** What was exported with the page: sizes, thresholds, where the models come from. */
export async function aboutModels() {
  return (await fetch(new URL("models.json", MODELS))).json();
}

/** Whether this browser offers WebGPU, to workers too. */
export async function hasWebGpu() {
  try {
    return Boolean(await navigator.gpu?.requestAdapter());
  } catch {
    return false;
  }
}

/**
 * Networks on one kind of machine.
 * @param {"webgpu" | "wasm"} kind
 * @param {string[]} names of .onnx files
 * @returns {Promise<Record<string, (input: Float32Array, dims: number[]) => Promise<object[]>>>} outputs by network
 */
export async function loadNetworks(kind, names) {
  const { module, loader } = BUILDS[kind];
  const ort = await import(new URL(module, RUNTIME).href);
  ort.env.wasm.wasmPaths = { mjs: new URL(`${loader}.js`, RUNTIME).href, wasm: new URL(`${loader}.wasm`, RUNTIME).href };
  // Threads share memory, which browsers give only to pages that are isolated from all others.
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency) : 1;
  ort.env.logLevel = "error";
  const networks = {};
  for (const name of names) {
    const session = await ort.InferenceSession.create(new URL(name, MODELS).href, { executionProviders: [kind] });
    networks[name] = (input, dims) => outputsOf(ort, session, input, dims);
  }
  return networks;
}

async function outputsOf(ort, session, input, dims) {
  const results = await session.run({ [session.inputNames[0]]: new ort.Tensor("float32", input, dims) });
  return Promise.all(session.outputNames.map(async (name) => ({ data: await results[name].getData(), dims: results[name].dims })));
}
