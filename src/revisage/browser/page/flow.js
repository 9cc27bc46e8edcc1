/**
 * Where each cell of a crop was in an earlier one, and where that can be believed.
 *
 * Dense Lucas-Kanade (1981) on a pyramid of three levels: in windows of 9 x 9 cells the move is sought that explains the
 * difference best. A flow is {u, v} in cells, for each cell of the newer picture: what is seen there at p is seen in the
 * older one at p + (u, v).
 */

import { boxed } from "./blurring.js";
import { median } from "./geometry.js";

export const GRID = 128;

const LEVELS = [32, 64, 128];
const STEPS = 2;
const REACH = 4;

/** Contrast (squared steps of 255 a cell) below which a window says nothing of its move. */
const LEAST_CONTRAST = 6;

/** Farthest move that is believed (cells), and where trust in a long one begins to fade. */
const FARTHEST = 16;
const FAR = 6;

/** Bounds of the noise in a difference (1/255); squared error in parts of it that counts, and that costs a third of trust. */
const QUIET = 0.7;
const LOUD = 12;
const EXPECTED = 1.5;
const EXCESS = 6;

/** How each cell of `now` moved since `before`, both GRID x GRID floats of brightness. from: a flow to begin with. */
export function flowBetween(now, before, from = null) {
  const [targets, sources] = [pyramid(now), pyramid(before)];
  let flow = from ? halved(halved(from)) : { u: new Float32Array(LEVELS[0] ** 2), v: new Float32Array(LEVELS[0] ** 2) };
  LEVELS.forEach((side, level) => {
    if (level) flow = doubled(flow, side);
    flow = refined(flow, targets[level], sources[level], side);
  });
  return flow;
}

function pyramid(picture) {
  const middle = smaller(picture, GRID);
  return [smaller(middle, GRID / 2), middle, picture];
}

function smaller(values, side) {
  const half = side / 2;
  const out = new Float32Array(half * half);
  for (let y = 0; y < half; y++) {
    for (let x = 0; x < half; x++) {
      const at = 2 * y * side + 2 * x;
      out[y * half + x] = (values[at] + values[at + 1] + values[at + side] + values[at + side + 1]) / 4;
    }
  }
  return out;
}

function halved({ u, v }) {
  const side = Math.sqrt(u.length);
  return { u: smaller(u, side).map((x) => x / 2), v: smaller(v, side).map((x) => x / 2) };
}

function doubled({ u, v }, side) {
  const out = { u: new Float32Array(side * side), v: new Float32Array(side * side) };
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      out.u[y * side + x] = 2 * sample(u, side / 2, (x + 0.5) / 2 - 0.5, (y + 0.5) / 2 - 0.5);
      out.v[y * side + x] = 2 * sample(v, side / 2, (x + 0.5) / 2 - 0.5, (y + 0.5) / 2 - 0.5);
    }
  }
  return out;
}

/** One value of a square of floats, bilinear; beyond its border as at it. */
function sample(values, side, px, py) {
  const x = px < 0 ? 0 : px > side - 1 ? side - 1 : px;
  const y = py < 0 ? 0 : py > side - 1 ? side - 1 : py;
  const x0 = x | 0;
  const y0 = y | 0;
  const right = x0 < side - 1 ? 1 : 0;
  const below = y0 < side - 1 ? side : 0;
  const at = y0 * side + x0;
  const fx = x - x0;
  const above = values[at] + fx * (values[at + right] - values[at]);
  const under = values[at + below] + fx * (values[at + below + right] - values[at + below]);
  return above + (y - y0) * (under - above);
}

function refined(flow, target, source, side) {
  const { gx, gy, xx, xy, yy } = gradients(target, side);
  let [u, v] = [flow.u, flow.v];
  for (let step = 0; step < STEPS; step++) {
    const [bx, by] = [new Float32Array(side * side), new Float32Array(side * side)];
    for (let y = 0, at = 0; y < side; y++) {
      for (let x = 0; x < side; x++, at++) {
        const difference = target[at] - sample(source, side, x + u[at], y + v[at]);
        bx[at] = gx[at] * difference;
        by[at] = gy[at] * difference;
      }
    }
    const [sx, sy] = [boxed(bx, side, REACH), boxed(by, side, REACH)];
    const [du, dv] = [new Float32Array(side * side), new Float32Array(side * side)];
    const most = (FARTHEST * side) / GRID;
    for (let at = 0; at < side * side; at++) {
      const [a, b, c] = [xx[at] + LEAST_CONTRAST, xy[at], yy[at] + LEAST_CONTRAST];
      const determinant = a * c - b * b;
      du[at] = within(u[at] + (c * sx[at] - b * sy[at]) / determinant, most);
      dv[at] = within(v[at] + (a * sy[at] - b * sx[at]) / determinant, most);
    }
    [u, v] = [boxed(du, side, 2), boxed(dv, side, 2)];
  }
  return { u, v };
}

const within = (value, most) => Math.max(-most, Math.min(most, value));

/** Slopes of a picture and the means of their products over each window. */
function gradients(picture, side) {
  const [gx, gy] = [new Float32Array(side * side), new Float32Array(side * side)];
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const at = y * side + x;
      gx[at] = (picture[at + (x < side - 1 ? 1 : 0)] - picture[at - (x ? 1 : 0)]) / 2;
      gy[at] = (picture[at + (y < side - 1 ? side : 0)] - picture[at - (y ? side : 0)]) / 2;
    }
  }
  const product = (one, other) => boxed(one.map((value, at) => value * other[at]), side, REACH);
  return { gx, gy, xx: product(gx, gx), xy: product(gx, gy), yy: product(gy, gy) };
}

/** 1 where both pictures surely show the same along the flow, 0 where they surely do not: GRID x GRID floats. */
export function trust(now, before, { u, v }) {
  const difference = new Float32Array(GRID * GRID);
  for (let y = 0, at = 0; y < GRID; y++) {
    for (let x = 0; x < GRID; x++, at++) difference[at] = now[at] - sample(before, GRID, x + u[at], y + v[at]);
  }
  const noise = Math.min(LOUD, Math.max(QUIET, 1.4826 * median(inner(difference).map(Math.abs))));
  const errors = boxed(difference.map((value) => (value / noise) ** 2), GRID, 2);
  return errors.map((error, at) => {
    const doubt = Math.max(error - EXPECTED, 0) / EXCESS + (u[at] * u[at] + v[at] * v[at]) / (2 * FAR * FAR);
    return Math.exp(-Math.min(doubt, 50));
  });
}

/** Every second cell of the middle, where the face is. */
function inner(values) {
  const out = [];
  for (let y = Math.floor(GRID / 5); y < 0.9 * GRID; y += 2) {
    for (let x = GRID / 4; x < 0.75 * GRID; x += 2) out.push(values[y * GRID + x]);
  }
  return out;
}
