/**
 * Putting a restored face back: what the restoration changed is added, under a soft mask, as faces.composite of Python
 * does it. A pixel outside of the mask keeps its very bytes.
 */

import { blurred } from "./blurring.js";
import { GRID } from "./flow.js";
import { apply, invert } from "./geometry.js";

/** The face's outline from the middle between eyes and mouth: across in eye distances, down in distances to the mouth. */
const RIGHT = [[0.66, -1.33], [1.1, -0.75], [1.17, -0.05], [1.03, 0.62], [0.66, 1.1]];
const OUTLINE = [[0, -1.45], ...RIGHT, [0, 1.32], ...RIGHT.map(([x, y]) => [-x, y]).reverse()];
const SOFTNESS = 1 / 28;
const EDGE = [0.01, 0.12];
const COLOUR_GRID = 32;
const COLOUR_SIGMA = 4;

/** GRID x GRID floats: 1 on the face with these landmarks (px of a crop of that size), 0 well before the border. */
export function softMask(landmarks, size) {
  const points = outline(landmarks.map((point) => point.map((v) => ((v + 0.5) * GRID) / size - 0.5)));
  const mask = blurred(filled(points), GRID, GRID, 1, SOFTNESS * GRID);
  return mask.map((value, at) => {
    const soft = value * window_(at % GRID, Math.floor(at / GRID));
    return Math.min(1, Math.max(0, (soft - 0.01) / 0.98));
  });
}

function outline([left, right, nose, mouthLeft, mouthRight]) {
  const mean = (one, other) => [(one[0] + other[0]) / 2, (one[1] + other[1]) / 2];
  const [eyes, mouth] = [mean(left, right), mean(mouthLeft, mouthRight)];
  const down = [mouth[0] - eyes[0], mouth[1] - eyes[1]];
  const length = Math.max(Math.hypot(...down), 1e-6);
  const across = [down[1] / length, -down[0] / length];
  const along = (from, to) => (to[0] - from[0]) * across[0] + (to[1] - from[1]) * across[1];
  // In profile the eyes close up while the head stays as wide.
  const width = Math.max(along(left, right), 0.75 * length);
  const middle = mean(eyes, mouth);
  const lean = Math.min(0.5, Math.max(-0.5, along(middle, nose) / width)) * -0.5;
  return OUTLINE.map(([x, y]) => [0, 1].map((i) => middle[i] + (x + lean) * width * across[i] + y * down[i]));
}

/** A convex polygon, wider by half a cell, its edge one cell soft: as OpenCV fills it. */
function filled(points) {
  const edges = points.map(([x, y], i) => {
    const [nx, ny] = points[(i + 1) % points.length];
    const length = Math.hypot(nx - x, ny - y) || 1;
    return [-(ny - y) / length, (nx - x) / length, x, y];
  });
  const out = new Float32Array(GRID * GRID);
  for (let y = 0, at = 0; y < GRID; y++) {
    for (let x = 0; x < GRID; x++, at++) {
      let inside = 1;
      for (const [ax, ay, ex, ey] of edges) inside = Math.min(inside, 1 + (x - ex) * ax + (y - ey) * ay);
      out[at] = Math.max(0, inside);
    }
  }
  return out;
}

function window_(x, y) {
  const depth = (Math.min(x, y, GRID - 1 - x, GRID - 1 - y) + 0.5) / GRID;
  const ramp = Math.min(1, Math.max(0, (depth - EDGE[0]) / (EDGE[1] - EDGE[0])));
  return 0.5 - 0.5 * Math.cos(Math.PI * ramp);
}

/**
 * What a restoration adds to a crop, without what it does to its colours: size x size x 3 floats.
 * @param {number} scale px of the crop for one of the frame; what the frame is too coarse for is smoothed away
 */
export function addedDetail(crop, restored, mask, size, scale) {
  const difference = restored.map((value, at) => value - crop[at]);
  const drift = colourDrift(difference, mask, size);
  for (let y = 0, at = 0; y < size; y++) {
    for (let x = 0; x < size; x++, at += 3) {
      const [u, v] = [x, y].map((place) => ((place + 0.5) * COLOUR_GRID) / size - 0.5);
      for (let c = 0; c < 3; c++) difference[at + c] -= coarseSample(drift, u, v, c);
    }
  }
  return blurred(difference, size, size, 3, Math.sqrt(Math.max(0, scale * scale - 1) / 8));
}

/** The low frequencies of a difference under the mask, COLOUR_GRID squared x 3. */
function colourDrift(difference, mask, size) {
  const cells = COLOUR_GRID * COLOUR_GRID;
  const [sums, weights] = [new Float32Array(3 * cells), new Float32Array(cells)];
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const weight = mask[Math.floor((y * GRID) / size) * GRID + Math.floor((x * GRID) / size)];
      const cell = Math.floor((y * COLOUR_GRID) / size) * COLOUR_GRID + Math.floor((x * COLOUR_GRID) / size);
      weights[cell] += weight;
      for (let c = 0; c < 3; c++) sums[3 * cell + c] += weight * difference[(y * size + x) * 3 + c];
    }
  }
  const each = (size / COLOUR_GRID) ** 2;
  const low = blurred(sums.map((v) => v / each), COLOUR_GRID, COLOUR_GRID, 3, COLOUR_SIGMA);
  const share = blurred(weights.map((v) => v / each), COLOUR_GRID, COLOUR_GRID, 1, COLOUR_SIGMA);
  return low.map((value, at) => value / (share[Math.floor(at / 3)] + 1e-3));
}

function coarseSample(values, u, v, c) {
  const clamp = (place) => Math.min(COLOUR_GRID - 1, Math.max(0, place));
  const [x0, y0] = [Math.floor(u), Math.floor(v)];
  const at = (x, y) => values[(clamp(y) * COLOUR_GRID + clamp(x)) * 3 + c];
  const [fx, fy] = [u - x0, v - y0];
  return (1 - fy) * ((1 - fx) * at(x0, y0) + fx * at(x0 + 1, y0)) + fy * ((1 - fx) * at(x0, y0 + 1) + fx * at(x0 + 1, y0 + 1));
}

/**
 * Adds carried detail to a picture's own pixels.
 * @param {{map: object, size: number, weight: Float32Array, flow: {u: Float32Array, v: Float32Array}, detail: Float32Array}} face
 *     map: from the picture to the crop; weight and flow: GRID x GRID, of the crop as it is now; detail: of the crop
 *     that it was made for
 * @param {number} from first column that may change
 * @returns {{left: number, top: number, width: number, height: number} | null} what may have changed
 */
export function addTo(picture, face, from = 0) {
  const region = shownRegion(picture, face, from);
  if (!region) return null;
  const { data, width } = picture;
  const { map, size } = face;
  const toGrid = GRID / size;
  const change = new Float32Array(3);
  for (let y = region.top; y < region.top + region.height; y++) {
    for (let x = region.left; x < region.left + region.width; x++) {
      const cx = map.a * x - map.b * y + map.x;
      const cy = map.b * x + map.a * y + map.y;
      if (!changeAt(face, cx, cy, (cx + 0.5) * toGrid - 0.5, (cy + 0.5) * toGrid - 0.5, change)) continue;
      const at = (y * width + x) * 4;
      data[at] += change[0];
      data[at + 1] += change[1];
      data[at + 2] += change[2];
    }
  }
  return region;
}

/** The change of the pixel that lies at (cx, cy) in the crop, at (gx, gy) of the grid; false where there is none. */
function changeAt({ size, weight, flow, detail }, cx, cy, gx, gy, change) {
  if (!(gx >= 0 && gy >= 0 && gx < GRID - 1 && gy < GRID - 1)) return false;
  const at = (gy | 0) * GRID + (gx | 0);
  const fx = gx - (gx | 0);
  const fy = gy - (gy | 0);
  const [p, q, r, s] = [(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy];
  const on = (values) => p * values[at] + q * values[at + 1] + r * values[at + GRID] + s * values[at + GRID + 1];
  const share = on(weight);
  if (share < 1e-3) return false;
  const times = size / GRID;
  const dx = cx + times * on(flow.u);
  const dy = cy + times * on(flow.v);
  if (!(dx >= 0 && dy >= 0 && dx < size - 1 && dy < size - 1)) return false;
  const place = ((dy | 0) * size + (dx | 0)) * 3;
  const ex = dx - (dx | 0);
  const ey = dy - (dy | 0);
  const below = place + 3 * size;
  for (let c = 0; c < 3; c++) {
    const upper = detail[place + c] + ex * (detail[place + 3 + c] - detail[place + c]);
    const lower = detail[below + c] + ex * (detail[below + 3 + c] - detail[below + c]);
    change[c] = share * (upper + ey * (lower - upper));
  }
  return true;
}

function shownRegion(picture, { map, size, weight }, from) {
  const cells = { left: GRID, top: GRID, right: -1, bottom: -1 };
  weight.forEach((value, at) => {
    if (value < 1e-3) return;
    const [x, y] = [at % GRID, Math.floor(at / GRID)];
    cells.left = Math.min(cells.left, x);
    cells.right = Math.max(cells.right, x);
    cells.top = Math.min(cells.top, y);
    cells.bottom = Math.max(cells.bottom, y);
  });
  if (cells.right < 0) return null;
  const back = invert(map);
  const inCrop = (cell) => ((cell + 0.5) * size) / GRID - 0.5;
  const corners = [cells.left - 1, cells.right + 1].flatMap((x) =>
    [cells.top - 1, cells.bottom + 1].map((y) => apply(back, [inCrop(x), inCrop(y)])),
  );
  const [xs, ys] = [corners.map(([x]) => x), corners.map(([, y]) => y)];
  const left = Math.max(from, 0, Math.floor(Math.min(...xs)));
  const top = Math.max(0, Math.floor(Math.min(...ys)));
  const right = Math.min(picture.width, Math.ceil(Math.max(...xs)) + 1);
  const bottom = Math.min(picture.height, Math.ceil(Math.max(...ys)) + 1);
  return right > left && bottom > top ? { left, top, width: right - left, height: bottom - top } : null;
}

