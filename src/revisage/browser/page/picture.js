/** Reading pixels. A picture is {data, width, height}: RGBA bytes, as canvases give them. */

import { invert, scaleOf } from "./geometry.js";

/**
 * A part of a picture reduced by area averages: RGB bytes, width x height.
 * @param {{left: number, top: number, right: number, bottom: number}} part whole pixels, ends excluded
 */
export function reduced(picture, part, width, height) {
  const [across, down] = [part.right - part.left, part.bottom - part.top];
  if (across % 2 === 0 && down % 2 === 0 && across >= 2 * width && down >= 2 * height) {
    const half = halved(picture, part);
    return reduced(half, { left: 0, top: 0, right: half.width, bottom: half.height }, width, height);
  }
  const columns = shares(part.right - part.left, width);
  const rows = shares(part.bottom - part.top, height);
  const out = new Uint8ClampedArray(width * height * 3);
  const line = new Float32Array(width * 3);
  for (let y = 0; y < height; y++) {
    line.fill(0);
    for (const [row, share] of rows[y]) addRow(line, picture, part.top + row, part.left, columns, share);
    out.set(line, y * width * 3);
  }
  return out;
}

/** A part at half its size: faster than in one step, and as Python reduces pictures. */
function halved({ data, width }, { left, top, right, bottom }) {
  const half = { width: (right - left) / 2, height: (bottom - top) / 2 };
  half.data = new Uint8ClampedArray(half.width * half.height * 4);
  for (let y = 0, to = 0; y < half.height; y++) {
    for (let x = 0; x < half.width; x++, to += 4) {
      const at = ((top + 2 * y) * width + left + 2 * x) * 4;
      const below = at + 4 * width;
      for (let c = 0; c < 3; c++) {
        // Four bytes make quarters, and halves are rounded up.
        half.data[to + c] = (data[at + c] + data[at + 4 + c] + data[below + c] + data[below + 4 + c] + 2) >> 2;
      }
    }
  }
  return half;
}

function addRow(line, { data, width }, row, left, columns, share) {
  const start = (row * width + left) * 4;
  columns.forEach((cell, x) => {
    let [r, g, b] = [0, 0, 0];
    for (const [column, part] of cell) {
      const at = start + column * 4;
      r += part * data[at];
      g += part * data[at + 1];
      b += part * data[at + 2];
    }
    line[x * 3] += share * r;
    line[x * 3 + 1] += share * g;
    line[x * 3 + 2] += share * b;
  });
}

/** Of each of `to` cells the pixels out of `from` that lie in it, with their shares of it. */
function shares(from, to) {
  const step = from / to;
  return Array.from({ length: to }, (_, cell) => {
    const [low, high] = [cell * step, Math.min(from, (cell + 1) * step)];
    const found = [];
    for (let i = Math.floor(low + 1e-9); i < high - 1e-9; i++) {
      found.push([i, (Math.min(high, i + 1) - Math.max(low, i)) / step]);
    }
    return found;
  });
}

/** How a picture goes on beyond its border: as the border's pixels do, or as its mirror image, without them or with. */
const BEYOND = {
  replicated: (i, count) => (i < 0 ? 0 : i >= count ? count - 1 : i),
  mirrored(i, count) {
    if (count === 1) return 0;
    const period = 2 * (count - 1);
    const place = ((i % period) + period) % period;
    return place < count ? place : period - place;
  },
  reflected(i, count) {
    const place = ((i % (2 * count)) + 2 * count) % (2 * count);
    return place < count ? place : 2 * count - 1 - place;
  },
};

/**
 * A square of what a similarity brings there from a picture, bilinear: RGB as floats, size x size x 3.
 *
 * What shrinks is averaged over a grid of samples where asked, so that nothing aliases.
 * @param {"replicated" | "mirrored" | "reflected"} [beyond] see BEYOND
 * @param {{left: number, top: number, sx: number, sy: number}} [part] of the picture that the map is from, and its px for
 *     one of the picture given, where that is only a reduced part of it
 */
export function square(picture, map, size, { beyond = "replicated", averaged = true, part = WHOLE } = {}) {
  const back = invert(map);
  const times = averaged ? Math.max(1, Math.round(scaleOf(back))) : 1;
  const out = new Float32Array(size * size * 3);
  const bend = BEYOND[beyond];
  const share = 1 / (times * times);
  const [x0, y0] = [(back.x - part.left + 0.5) / part.sx - 0.5, (back.y - part.top + 0.5) / part.sy - 0.5];
  const [xx, xy, yx, yy] = [back.a / part.sx, -back.b / part.sx, back.b / part.sy, back.a / part.sy];
  for (let y = 0, at = 0; y < size; y++) {
    for (let x = 0; x < size; x++, at += 3) {
      for (let j = 0; j < times; j++) {
        const v = y + (j + 0.5) / times - 0.5;
        for (let i = 0; i < times; i++) {
          const u = x + (i + 0.5) / times - 0.5;
          addSample(out, at, picture, xx * u + xy * v + x0, yx * u + yy * v + y0, share, bend);
        }
      }
    }
  }
  return out;
}

const WHOLE = { left: 0, top: 0, sx: 1, sy: 1 };

function addSample(out, at, { data, width, height }, px, py, part, bend) {
  const x0 = Math.floor(px);
  const y0 = Math.floor(py);
  const fx = px - x0;
  const fy = py - y0;
  const inside = x0 >= 0 && y0 >= 0 && x0 < width - 1 && y0 < height - 1;
  const left = inside ? x0 : bend(x0, width);
  const right = inside ? x0 + 1 : bend(x0 + 1, width);
  const above = (inside ? y0 : bend(y0, height)) * width;
  const below = (inside ? y0 + 1 : bend(y0 + 1, height)) * width;
  const [p, q, r, s] = [(above + left) * 4, (above + right) * 4, (below + left) * 4, (below + right) * 4];
  const [wp, wq] = [part * (1 - fx) * (1 - fy), part * fx * (1 - fy)];
  const [wr, ws] = [part * (1 - fx) * fy, part * fx * fy];
  for (let c = 0; c < 3; c++) {
    out[at + c] += wp * data[p + c] + wq * data[q + c] + wr * data[r + c] + ws * data[s + c];
  }
}

/** RGB, size x size x 3 in 0 to 255, as a network takes it: three planes in -1 to 1. */
export function planes(rgb, count, out = new Float32Array(3 * count), offset = 0) {
  for (let i = 0; i < count; i++) {
    out[offset + i] = rgb[3 * i] / 127.5 - 1;
    out[offset + count + i] = rgb[3 * i + 1] / 127.5 - 1;
    out[offset + 2 * count + i] = rgb[3 * i + 2] / 127.5 - 1;
  }
  return out;
}

/** Planes in -1 to 1 as RGB in 0 to 255, size x size x 3 floats. */
export function fromPlanes(values, count) {
  const out = new Float32Array(3 * count);
  for (let i = 0; i < count; i++) {
    for (let c = 0; c < 3; c++) out[3 * i + c] = Math.min(255, Math.max(0, (values[c * count + i] + 1) * 127.5));
  }
  return out;
}

/** Average brightness of blocks: RGB, size x size x 3, as one number for each of grid x grid. */
export function grey(rgb, size, grid) {
  const step = size / grid;
  const out = new Float32Array(grid * grid);
  for (let y = 0; y < size; y++) {
    const row = Math.floor(y / step) * grid;
    for (let x = 0; x < size; x++) {
      const at = (y * size + x) * 3;
      out[row + Math.floor(x / step)] += 0.299 * rgb[at] + 0.587 * rgb[at + 1] + 0.114 * rgb[at + 2];
    }
  }
  const cells = step * step;
  return out.map((v) => v / cells);
}
