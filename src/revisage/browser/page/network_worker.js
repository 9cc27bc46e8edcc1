/** The slow networks, beside the frames: whole frames are searched for faces here, and faces restored. */

import { CloserLook, search } from "./detection.js";
import { aboutModels, hasWebGpu, loadNetworks } from "./onnx.js";
import { fromPlanes, planes } from "./picture.js";

const NAMES = ["compact.onnx", "compact-detector.onnx", "compact-detector.refine.onnx"];

/** Largest difference between what both kinds of machine make of one face, of a range of 2. */
const AGREES = 0.05;

let networks;
let look;
let size;

self.onmessage = async ({ data }) => {
  try {
    const answer = await jobs[data.job](data);
    self.postMessage({ job: data.job, id: data.id, ...answer }, answer.restored ? [answer.restored.buffer] : []);
  } catch (error) {
    self.postMessage({ job: data.job, id: data.id, problem: String(error?.message ?? error) });
  }
};

const jobs = {
  async load() {
    const about = await aboutModels();
    size = about.size;
    const kind = await begun();
    look = new CloserLook(networks["compact-detector.refine.onnx"], about.threshold);
    return { kind, threads: self.crossOriginIsolated };
  },

  async search({ picture }) {
    return { faces: await search(picture, networks["compact-detector.onnx"], look) };
  },

  async restore({ crop }) {
    const [{ data }] = await networks["compact.onnx"](planes(crop, size * size), [1, 3, size, size]);
    return { restored: fromPlanes(data, size * size) };
  },
};

/** Load the networks on the fastest machine that is there and does what it should. */
async function begun() {
  if (await hasWebGpu()) {
    try {
      networks = await loadNetworks("webgpu", NAMES);
      if (await isRight()) return "webgpu";
    } catch (error) {
      console.warn(`WebGPU is not used: ${error?.message ?? error}`);
    }
  }
  networks = await loadNetworks("wasm", NAMES);
  return "wasm";
}

/** Whether a face comes out as the export says that it does: drivers of graphics cards may err. */
async function isRight() {
  const { probe } = await aboutModels();
  const count = size * size;
  const input = Float32Array.from({ length: 3 * count }, (_, i) => Math.sin(i * probe.step));
  const [{ data }] = await networks["compact.onnx"](input, [1, 3, size, size]);
  return probe.places.every((place, i) => Math.abs(data[place] - probe.values[i]) < AGREES);
}
