/**
 * Similarities of the plane, as {a, b, x, y}: (px, py) goes to (a px - b py + x, b px + a py + y).
 * Pixel centres lie at integers.
 */

/** Where the five landmarks lie in a crop of 512 px (FFHQ). */
const TEMPLATE_512 = [
  [192.98138, 239.94708],
  [318.90277, 240.1936],
  [256.63416, 314.01935],
  [201.26117, 371.41043],
  [313.08905, 371.15118],
];

export function ffhqTemplate(size) {
  return TEMPLATE_512.map((point) => point.map((v) => ((v + 0.5) * size) / 512 - 0.5));
}

export function apply(map, [px, py]) {
  return [map.a * px - map.b * py + map.x, map.b * px + map.a * py + map.y];
}

export function invert({ a, b, x, y }) {
  const square = a * a + b * b;
  const back = { a: a / square, b: -b / square, x: 0, y: 0 };
  const [bx, by] = apply(back, [x, y]);
  return { ...back, x: -bx, y: -by };
}

/** Px of the target for one of the source. */
export function scaleOf({ a, b }) {
  return Math.hypot(a, b);
}

/** The similarity that brings points nearest to others (least squares, Umeyama 1991); null where none does. */
export function similarity(points, targets) {
  const count = points.length;
  const mean = (all, axis) => all.reduce((sum, point) => sum + point[axis], 0) / count;
  const [px, py, tx, ty] = [mean(points, 0), mean(points, 1), mean(targets, 0), mean(targets, 1)];
  let spread = 0;
  let real = 0;
  let imaginary = 0;
  points.forEach(([x, y], i) => {
    const [dx, dy, ux, uy] = [x - px, y - py, targets[i][0] - tx, targets[i][1] - ty];
    spread += dx * dx + dy * dy;
    real += dx * ux + dy * uy;
    imaginary += dx * uy - dy * ux;
  });
  if (!(spread > 1e-6)) return null;
  const [a, b] = [real / spread, imaginary / spread];
  if (!(Math.hypot(a, b) > 1e-9)) return null;
  return { a, b, x: tx - (a * px - b * py), y: ty - (b * px + a * py) };
}

/** The similarity from a frame to the crop that a restorer of that size is shown; null where landmarks coincide. */
export function cropMap(landmarks, size) {
  return similarity(landmarks, ffhqTemplate(size));
}

export function median(values) {
  const sorted = Float32Array.from(values).sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
