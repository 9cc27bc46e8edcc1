/**
 * Each frame on its way to the canvas. Nothing here waits for the slow networks: known faces are followed, and what was
 * restored of them is carried along; searches and restorations run in a worker of their own whenever it is free.
 */

import { addTo } from "./compositing.js";
import { CloserLook } from "./detection.js";
import { FollowedFaces } from "./following.js";
import { aboutModels, loadNetworks } from "./onnx.js";

/** Ms between searches of whole frames while faces are followed, and while there are none or one was lost. */
const SEARCH_FOUND = 1000;
const SEARCH_NONE = 100;

/** Ms of a frame that faces may take. */
const BUDGET = 28;
const MEMORY = 0.15;

/** Px of the longer side of the picture; larger ones are reduced. */
const LONGEST = 1280;

const settings = { strength: 1, split: false };
const networkWorker = new Worker(new URL("./network_worker.js", import.meta.url), { type: "module" });
const waiting = new Map();

let canvas;
let context;
let look;
let size;
let faces;
let number = 0;
let searched = -Infinity;
let searchedLast = false;
let costOfFace = 0;
let isBusy = false;
let generation = 0;
let tally;

networkWorker.onmessage = ({ data }) => {
  const [done, failed] = waiting.get(data.id);
  waiting.delete(data.id);
  if (data.problem) failed(new Error(data.problem));
  else done(data);
};
networkWorker.onerror = () => self.postMessage({ is: "failed", problem: "a worker could not be started" });

self.onmessage = async ({ data }) => {
  try {
    await tasks[data.is](data);
  } catch (error) {
    self.postMessage({ is: "failed", problem: String(error?.message ?? error) });
  }
};

const tasks = {
  async load({ canvas: given }) {
    canvas = given;
    context = canvas.getContext("2d");
    begin();
    const about = await aboutModels();
    size = about.size;
    const { kind, threads } = await asked("load");
    const networks = await loadNetworks("wasm", ["compact-detector.refine.onnx"]);
    look = new CloserLook(networks["compact-detector.refine.onnx"], about.threshold);
    begin();
    self.postMessage({ is: "ready", kind, threads });
  },

  begin,

  set({ values }) {
    Object.assign(settings, values);
  },

  async frame({ bitmap }) {
    const started = performance.now();
    const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
    const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.round(side * scale));
    // A canvas that takes a size is emptied: only where it must.
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const picture = pixels(bitmap, width, height);
    const seen = look ? await faces.follow(picture, affordable()) : [];
    number += 1;
    const began = performance.now();
    const stepped = seen.filter((person) => person.carried.step(number, picture, person.landmarks));
    if (look) beginSideWork(picture, stepped);
    show(picture, stepped);
    const ended = performance.now();
    if (stepped.length) costOfFace += MEMORY * ((ended - began) / stepped.length - costOfFace);
    tally.shown += 1;
    tally.withFaces += stepped.length > 0;
    self.postMessage({ is: "shown", took: ended - started, ...tally });
  },
};

/** Forget all: another film begins, or the networks are there. */
function begin() {
  generation += 1;
  faces = new FollowedFaces(look, size);
  tally = { shown: 0, withFaces: 0, restored: 0 };
  searched = -Infinity;
}

function affordable() {
  return costOfFace > 0 ? Math.max(1, Math.floor(BUDGET / costOfFace)) : 2;
}

let scratch;

function pixels(bitmap, width, height) {
  if (scratch?.canvas.width !== width || scratch.canvas.height !== height) {
    scratch = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  }
  scratch.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return scratch.getImageData(0, 0, width, height);
}

/** Draws the frame with its faces. A part that no mask reaches keeps its bytes. */
function show(picture, people) {
  const middle = settings.split ? Math.floor(picture.width / 2) : 0;
  for (const person of people) {
    for (const change of person.carried.changes(settings.strength * person.shown)) addTo(picture, change, middle);
  }
  context.putImageData(picture, 0, 0);
  if (settings.split) {
    context.fillStyle = "#fff";
    context.fillRect(middle - 1, 0, 2, picture.height);
  }
}

/** Search the frame, or restore the face that has waited longest, where the worker is free: by turns. */
function beginSideWork(picture, people) {
  if (isBusy) return;
  const now = performance.now();
  const isDue = now - searched >= (faces.settled ? SEARCH_FOUND : SEARCH_NONE);
  if (isDue && !(people.length && searchedLast)) {
    searchedLast = true;
    const { data, width, height } = picture;
    beside("search", { picture: { data: data.slice(), width, height } }, ({ faces: found }) => {
      searched = performance.now();
      faces.offer(found);
    });
  } else if (people.length) {
    searchedLast = false;
    const { carried } = people.reduce((one, other) => (other.carried.restoredAt < one.carried.restoredAt ? other : one));
    const shown = carried.now;
    beside("restore", { crop: shown.crop }, ({ restored }) => {
      tally.restored += 1;
      carried.take(shown, restored);
    });
  }
}

async function beside(job, given, then) {
  const mine = generation;
  isBusy = true;
  try {
    const answer = await asked(job, given);
    if (mine === generation) then(answer);
  } catch (error) {
    self.postMessage({ is: "failed", problem: error.message });
  } finally {
    isBusy = false;
  }
}

let questions = 0;

function asked(job, given = {}) {
  questions += 1;
  const id = questions;
  return new Promise((done, failed) => {
    waiting.set(id, [done, failed]);
    networkWorker.postMessage({ job, id, ...given });
  });
}
