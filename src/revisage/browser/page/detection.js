/**
 * Finding faces: what the two stages of compact-detector say, as revisage.nets.decode_maps and decode_crops read it.
 * A face is {box: [left, top, right, bottom], landmarks: five [x, y], score}, in pixels of the picture.
 */

import { apply, invert } from "./geometry.js";
import { planes, reduced, square } from "./picture.js";

const STRIDES = [8, 16, 32];
const CHANNELS = 15;
const CROP = 64;
const ENLARGED = 1.5;
const OUTPUTS = 15;
const MIRRORED = [1, 0, 2, 4, 3];

/** Px of a picture that is searched, at most; from this side on a face is looked for in a reduced one as well. */
const PIXELS = 640 * 480;
const LARGEST = 240;
const REDUCED = 0.25;
const LEAST_SIDE = 64;

/** What scores less is not looked at again; the part of the first stage in the two scores' geometric mean. */
const LOWEST = 0.3;
const FIRST_PART = 0.35;
const SAME_BEFORE = 0.5;
const SAME = 0.4;
const MOST = 64;
const LOW = 0.6;
const FINE_ENOUGH = 0.6;

/** So much of a part lies inside the face, of which it is so much at most. */
const PART_INSIDE = 0.7;
const PART_AREA = 0.4;

const logistic = (x) => 0.5 + 0.5 * Math.tanh(0.5 * x);

/**
 * Candidates in the pixels of the network's input. maps: [{data, dims: [1, 15, rows, columns]}] by stride; those of faces
 * that lie, which follow, are left.
 */
export function decodeMaps(maps, lowest) {
  const found = [];
  STRIDES.forEach((stride, level) => {
    const { data, dims } = maps[level];
    const [rows, columns] = dims.slice(-2);
    const cells = rows * columns;
    for (let cell = 0; cell < cells; cell++) {
      const score = logistic(data[cell]);
      if (score < lowest) continue;
      const raw = Array.from({ length: CHANNELS }, (_, channel) => data[channel * cells + cell]);
      found.push(decodedCell(raw, cell % columns, Math.floor(cell / columns), stride, score));
    }
  });
  return found;
}

function decodedCell(raw, column, row, stride, score) {
  const [x, y] = [(column + 0.5) * stride - 0.5, (row + 0.5) * stride - 0.5];
  const [left, top, right, bottom] = raw.slice(1, 5).map((v) => Math.exp(Math.min(v, 5)) * stride);
  const landmarks = [0, 1, 2, 3, 4].map((i) => [x + raw[5 + 2 * i] * stride, y + raw[6 + 2 * i] * stride]);
  return { box: [x - left, y - top, x + right, y + bottom], landmarks, score };
}

/** How far a face leans, clockwise in radians. */
function roll(landmarks) {
  const [l, r, , ml, mr] = landmarks;
  const eyes = [r[0] - l[0], r[1] - l[1]];
  const down = [0, 1].map((i) => (ml[i] + mr[i] - l[i] - r[i]) / 2);
  return Math.atan2(eyes[1] - down[0], eyes[0] + down[1]);
}

/** The similarity from the picture to the upright crop that the second stage looks at. */
export function lookMap({ box, landmarks }) {
  const side = Math.sqrt(Math.max((box[2] - box[0]) * (box[3] - box[1]), 1));
  const scale = CROP / (ENLARGED * side);
  const angle = roll(landmarks);
  const map = { a: Math.cos(angle) * scale, b: -Math.sin(angle) * scale, x: 0, y: 0 };
  const [x, y] = apply(map, [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]);
  return { ...map, x: (CROP - 1) / 2 - x, y: (CROP - 1) / 2 - y };
}

/** What the second stage says of one crop, in the picture's pixels. */
export function decodeCrop(raw, map) {
  const back = invert(map);
  const middle = (CROP - 1) / 2;
  const inPicture = (x, y) => apply(back, [x * CROP + middle, y * CROP + middle]);
  const centre = inPicture(raw[1], raw[2]);
  const half = [3, 4].map((i) => (Math.exp(Math.min(1, Math.max(-1, raw[i]))) * (CROP / ENLARGED)) / 2);
  const width = Math.hypot(back.a * half[0], back.b * half[1]);
  const height = Math.hypot(back.b * half[0], back.a * half[1]);
  return {
    box: [centre[0] - width, centre[1] - height, centre[0] + width, centre[1] + height],
    landmarks: [0, 1, 2, 3, 4].map((i) => inPicture(raw[5 + 2 * i], raw[6 + 2 * i])),
    score: logistic(raw[0]),
  };
}

function unmirrored(raw) {
  const turned = raw.slice();
  turned[1] *= -1;
  MIRRORED.forEach((from, to) => {
    turned[5 + 2 * to] = -raw[5 + 2 * from];
    turned[6 + 2 * to] = raw[6 + 2 * from];
  });
  return turned;
}

const area = ([left, top, right, bottom]) => Math.max(right - left, 0) * Math.max(bottom - top, 0);

function sharedArea(one, other) {
  const low = [0, 1].map((i) => Math.max(one[i], other[i]));
  const high = [2, 3].map((i) => Math.min(one[i], other[i]));
  return area([...low, ...high]);
}

export function overlap(one, other) {
  const shared = sharedArea(one, other);
  return shared / Math.max(area(one) + area(other) - shared, 1e-6);
}

/** Whether a face is a part of another: an eye or a mouth, enlarged, may pass for a face. */
const isPart = (face, whole) =>
  sharedArea(face.box, whole.box) > PART_INSIDE * area(face.box) && area(face.box) < PART_AREA * area(whole.box);

/** Of those that overlap the best; the best first. */
export function suppressed(faces, most) {
  const kept = [];
  for (const face of [...faces].sort((one, other) => other.score - one.score)) {
    if (kept.every((better) => overlap(better.box, face.box) <= most)) kept.push(face);
  }
  return kept;
}

/** Whether a face reaches beyond the border of a picture. */
const isCut = ({ box }, { width, height }) =>
  box[0] < -0.5 || box[1] < -0.5 || box[2] > width - 0.5 || box[3] > height - 0.5;

const mean = (one, other) => one.map((v, i) => (v + other[i]) / 2);

/**
 * Looks at faces upright and close by, itself and in a mirror. What the picture's border cuts off is looked at where a
 * first look sees it, with the border's pixels beyond the border and with its mirror image.
 */
export class CloserLook {
  /** @param {(input: Float32Array, dims: number[]) => Promise<{data: Float32Array}[]>} run the second stage */
  constructor(run, threshold) {
    this._run = run;
    this.threshold = threshold;
    this.lowThreshold = LOW * threshold;
  }

  /** Of each face what stands there, by this stage alone: in the frames of a film, where it was in the one before. */
  async at(picture, faces) {
    const maps = faces.map(lookMap);
    const crops = faces.map((face, i) => cropsOf(picture, maps[i], isCut(face, picture)));
    const outputs = await this._averaged([...crops, ...crops.map((some) => some.map(inMirror))]);
    return maps.map((map, i) => decodeCrop(mean(outputs[i], unmirrored(outputs[maps.length + i])), map));
  }

  /** Of what the first stage proposed, what holds; without duplicates. */
  async confirmed(picture, proposals) {
    const best = suppressed(proposals, SAME_BEFORE).slice(0, MOST);
    const looks = await this._looks(picture, best);
    const outputs = await this._averaged(looks.map(({ crops }) => crops));
    const scored = (raw, { map, proposal }) => {
      const seen = decodeCrop(raw, map);
      return { ...seen, score: proposal.score ** FIRST_PART * seen.score ** (1 - FIRST_PART) };
    };
    const isHeld = looks.map((look, i) => scored(outputs[i], look).score >= this.lowThreshold);
    const [held, before] = [looks.filter((_, i) => isHeld[i]), outputs.filter((_, i) => isHeld[i])];
    const mirrored = await this._averaged(held.map(({ crops }) => crops.map(inMirror)));
    const found = held.map((look, i) => scored(mean(before[i], unmirrored(mirrored[i])), look));
    return suppressed(
      found.filter((face) => face.score >= this.lowThreshold),
      SAME,
    );
  }

  /** Of each proposal the crops to look at, with their map. */
  async _looks(picture, proposals) {
    const maps = proposals.map(lookMap);
    const cut = proposals.flatMap((face, i) => (isCut(face, picture) ? [i] : []));
    const firstLooks = await this._outputs(cut.flatMap((i) => cropsOf(picture, maps[i], false)));
    cut.forEach((i, place) => {
      maps[i] = lookMap(decodeCrop(firstLooks[place], maps[i]));
    });
    return proposals.map((proposal, i) => {
      return { proposal, map: maps[i], crops: cropsOf(picture, maps[i], cut.includes(i)) };
    });
  }

  /** Of each list of crops the mean of what they say. */
  async _averaged(crops) {
    const outputs = await this._outputs(crops.flat());
    let next = 0;
    return crops.map((some) => some.map(() => outputs[next++]).reduce(mean));
  }

  /** Raw outputs of crops. */
  async _outputs(crops) {
    if (!crops.length) return [];
    const count = CROP * CROP;
    const input = new Float32Array(crops.length * 3 * count);
    crops.forEach((crop, i) => planes(crop, count, input, i * 3 * count));
    const [{ data }] = await this._run(input, [crops.length, 3, CROP, CROP]);
    return crops.map((_, i) => Array.from(data.subarray(i * OUTPUTS, (i + 1) * OUTPUTS)));
  }
}

/** What is looked at of a face: one crop, or one for each way that a picture goes on where its border cuts the face. */
function cropsOf(picture, map, cut) {
  return (cut ? ["replicated", "reflected"] : ["replicated"]).map((beyond) => lookedAt(picture, map, beyond));
}

/** The crop; of a large face the picture is averaged first, where the first stage's crops were too. */
function lookedAt(picture, map, beyond) {
  const scale = Math.hypot(map.a, map.b);
  if (scale >= FINE_ENOUGH) return square(picture, map, CROP, { averaged: false, beyond });
  const part = shown(picture, map);
  const [across, down] = [part.right - part.left, part.bottom - part.top];
  const [width, height] = [across, down].map((side) => Math.max(1, Math.round(side * scale)));
  const small = withAlpha(reduced(picture, part, width, height), width, height);
  const place = { left: part.left, top: part.top, sx: across / width, sy: down / height };
  return square(small, map, CROP, { averaged: false, beyond, part: place });
}

function shown({ width, height }, map) {
  const back = invert(map);
  const corners = [[-1, -1], [CROP, -1], [-1, CROP], [CROP, CROP]].map((corner) => apply(back, corner));
  const [xs, ys] = [corners.map(([x]) => x), corners.map(([, y]) => y)];
  const low = (values, limit) => Math.min(limit - 1, Math.max(0, Math.floor(Math.min(...values))));
  const high = (values, limit, least) => Math.min(limit, Math.max(least + 1, Math.ceil(Math.max(...values)) + 1));
  const [left, top] = [low(xs, width), low(ys, height)];
  return { left, top, right: high(xs, width, left), bottom: high(ys, height, top) };
}

function withAlpha(rgb, width, height) {
  const data = new Uint8ClampedArray(width * height * 4);
  for (let i = 0; i < width * height; i++) data.set(rgb.subarray(3 * i, 3 * i + 3), 4 * i);
  return { data, width, height };
}

function inMirror(rgb) {
  const out = new Float32Array(rgb.length);
  for (let y = 0; y < CROP; y++) {
    for (let x = 0; x < CROP; x++) {
      const [from, to] = [(y * CROP + x) * 3, (y * CROP + CROP - 1 - x) * 3];
      for (let c = 0; c < 3; c++) out[to + c] = rgb[from + c];
    }
  }
  return out;
}

/**
 * All faces of a picture, the largest first, as FaceDetector.candidates of Python finds them in up to 1280 px.
 * @param {(input: Float32Array, dims: number[]) => Promise<{data: Float32Array, dims: number[]}[]>} propose first stage
 */
export async function search(picture, propose, look) {
  const scale = Math.min(1, Math.sqrt(PIXELS / (picture.width * picture.height)));
  const proposals = await proposed(picture, scale, propose);
  if (Math.min(picture.width, picture.height) * scale >= LARGEST) {
    const large = await proposed(picture, scale * REDUCED, propose);
    const side = ({ box }) => Math.max(box[2] - box[0], box[3] - box[1]);
    proposals.push(...large.filter((face) => side(face) >= LARGEST / scale));
  }
  const confirmed = await look.confirmed(picture, proposals);
  const sure = confirmed.filter((face) => face.score >= look.threshold);
  const found = sure.filter((face) => !sure.some((whole) => isPart(face, whole)));
  const size = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);
  return found.sort((one, other) => size(other) - size(one));
}

async function proposed(picture, scale, propose) {
  const [width, height] = [picture.width, picture.height].map((side) => Math.max(1, Math.round(side * scale)));
  const whole = { left: 0, top: 0, right: picture.width, bottom: picture.height };
  const small = reduced(picture, whole, width, height);
  const [columns, rows] = [width, height].map((side) => Math.ceil(Math.max(side, LEAST_SIDE) / 32) * 32);
  const input = new Float32Array(3 * columns * rows).fill(-1);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) input[(c * rows + y) * columns + x] = small[(y * width + x) * 3 + c] / 127.5 - 1;
    }
  }
  const maps = await propose(input, [1, 3, rows, columns]);
  return decodeMaps(maps, LOWEST).map((face) => resized(face, picture.width / width, picture.height / height));
}

function resized({ box, landmarks, score }, sx, sy) {
  const point = ([x, y]) => [(x + 0.5) * sx - 0.5, (y + 0.5) * sy - 0.5];
  return { box: [...point(box.slice(0, 2)), ...point(box.slice(2))], landmarks: landmarks.map(point), score };
}
