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
const REDUCED = 0.4;
const LEAST_SIDE = 64;

/** What scores less is not looked at again; the part of the first stage in the two scores' geometric mean. */
const LOWEST = 0.3;
const FIRST_PART = 0.35;
const SAME_BEFORE = 0.5;
const SAME = 0.4;
const MOST = 64;
const LOW = 0.6;
const FINE_ENOUGH = 0.6;

const logistic = (x) => 0.5 + 0.5 * Math.tanh(0.5 * x);

/** Candidates in the pixels of the network's input. maps: [{data, dims: [1, 15, rows, columns]}] by stride. */
export function decodeMaps(maps, lowest) {
  const found = [];
  maps.forEach(({ data, dims }, level) => {
    const [rows, columns] = dims.slice(-2);
    const cells = rows * columns;
    for (let cell = 0; cell < cells; cell++) {
      const score = logistic(data[cell]);
      if (score < lowest) continue;
      const raw = Array.from({ length: CHANNELS }, (_, channel) => data[channel * cells + cell]);
      found.push(decodedCell(raw, cell % columns, Math.floor(cell / columns), STRIDES[level], score));
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

export function overlap(one, other) {
  const shared = area([
    Math.max(one[0], other[0]),
    Math.max(one[1], other[1]),
    Math.min(one[2], other[2]),
    Math.min(one[3], other[3]),
  ]);
  return shared / Math.max(area(one) + area(other) - shared, 1e-6);
}

/** Of those that overlap the best; the best first. */
export function suppressed(faces, most) {
  const kept = [];
  for (const face of [...faces].sort((one, other) => other.score - one.score)) {
    if (kept.every((better) => overlap(better.box, face.box) <= most)) kept.push(face);
  }
  return kept;
}

/** Looks at faces upright and close by, itself and in a mirror. */
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
    const outputs = await this._outputs(picture, maps);
    return outputs.map((raw, i) => decodeCrop(raw, maps[i]));
  }

  /** Of what the first stage proposed, what holds; without duplicates. */
  async confirmed(picture, proposals) {
    const best = suppressed(proposals, SAME_BEFORE).slice(0, MOST);
    const looks = await this.at(picture, best);
    const scored = looks.map((look, i) => ({
      ...look,
      score: best[i].score ** FIRST_PART * look.score ** (1 - FIRST_PART),
    }));
    return suppressed(
      scored.filter((face) => face.score >= this.lowThreshold),
      SAME,
    );
  }

  /** Raw outputs, the means of what the crop and its mirror image say. */
  async _outputs(picture, maps) {
    if (!maps.length) return [];
    const count = CROP * CROP;
    const input = new Float32Array(2 * maps.length * 3 * count);
    maps.forEach((map, i) => {
      const crop = lookedAt(picture, map);
      planes(crop, count, input, 2 * i * 3 * count);
      planes(inMirror(crop), count, input, (2 * i + 1) * 3 * count);
    });
    const [{ data }] = await this._run(input, [2 * maps.length, 3, CROP, CROP]);
    return maps.map((_, i) => {
      const one = Array.from(data.subarray(2 * i * OUTPUTS, (2 * i + 1) * OUTPUTS));
      const other = unmirrored(Array.from(data.subarray((2 * i + 1) * OUTPUTS, (2 * i + 2) * OUTPUTS)));
      return one.map((v, place) => (v + other[place]) / 2);
    });
  }
}

/** The crop; of a large face the picture is averaged first, where the first stage's crops were too. */
function lookedAt(picture, map) {
  const scale = Math.hypot(map.a, map.b);
  if (scale >= FINE_ENOUGH) return square(picture, map, CROP, { averaged: false });
  const part = shown(picture, map);
  const [across, down] = [part.right - part.left, part.bottom - part.top];
  const [width, height] = [across, down].map((side) => Math.max(1, Math.round(side * scale)));
  const small = withAlpha(reduced(picture, part, width, height), width, height);
  const place = { left: part.left, top: part.top, sx: across / width, sy: down / height };
  return square(small, map, CROP, { averaged: false, part: place });
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
  const found = await look.confirmed(picture, proposals);
  const size = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);
  return found.filter((face) => face.score >= look.threshold).sort((one, other) => size(other) - size(one));
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
