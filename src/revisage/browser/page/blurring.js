/** Gaussian blur of floats; what lies beyond the border is as the border. */

export function blurred(values, width, height, channels, sigma) {
  if (sigma < 0.3) return values;
  const kernel = kernelOf(sigma);
  const across = pass(values, height, width, channels, width * channels, channels, kernel);
  return pass(across, width, height, channels, channels, width * channels, kernel);
}

function kernelOf(sigma) {
  const reach = Math.ceil(3 * sigma);
  const kernel = new Float32Array(2 * reach + 1);
  let sum = 0;
  for (let i = -reach; i <= reach; i++) sum += kernel[i + reach] = Math.exp((-i * i) / (2 * sigma * sigma));
  return kernel.map((v) => v / sum);
}

/** One direction: `lines` lines that begin `stride` apart, each of `count` values that lie `step` apart. */
function pass(values, lines, count, channels, stride, step, kernel) {
  const out = new Float32Array(values.length);
  const reach = kernel.length >> 1;
  for (let line = 0; line < lines; line++) {
    for (let c = 0; c < channels; c++) {
      const start = line * stride + c;
      for (let i = 0; i < count; i++) {
        let sum = 0;
        for (let k = -reach; k <= reach; k++) {
          const place = i + k < 0 ? 0 : i + k >= count ? count - 1 : i + k;
          sum += kernel[k + reach] * values[start + place * step];
        }
        out[start + i * step] = sum;
      }
    }
  }
  return out;
}

/** Means over squares of side 2 reach + 1, of a square of that side; fewer pixels count at the border. */
export function boxed(values, side, reach) {
  const across = new Float32Array(values.length);
  const out = new Float32Array(values.length);
  for (let line = 0; line < side; line++) boxLine(values, across, line * side, 1, side, reach);
  for (let line = 0; line < side; line++) boxLine(across, out, line, side, side, reach);
  return out;
}

function boxLine(values, out, start, step, count, reach) {
  let sum = 0;
  for (let i = 0; i < Math.min(reach, count); i++) sum += values[start + i * step];
  for (let i = 0; i < count; i++) {
    if (i + reach < count) sum += values[start + (i + reach) * step];
    if (i - reach - 1 >= 0) sum -= values[start + (i - reach - 1) * step];
    const cells = Math.min(count - 1, i + reach) - Math.max(0, i - reach) + 1;
    out[start + i * step] = sum / cells;
  }
}
