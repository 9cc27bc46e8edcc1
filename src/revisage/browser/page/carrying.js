/**
 * One face from frame to frame: what the restorer added to it once is carried along its motion until it is restored anew,
 * and shown as far as both frames surely show the same. A mouth that has opened since is shown as it is.
 */

import { addedDetail, softMask } from "./compositing.js";
import { GRID, flowBetween, trust } from "./flow.js";
import { apply, cropMap, scaleOf } from "./geometry.js";
import { grey, square } from "./picture.js";

/** Frames over which detail comes that was not there before, or takes the place of what was carried. */
const FADE = 5;

/** Px of a crop that landmarks may move before the mask is drawn anew. */
const SAME_MASK = 0.5;

export class CarriedFace {
  constructor(size) {
    this.size = size;
    this.restoredAt = -1;
    this._details = [];
  }

  /** Take the next frame. False where its landmarks cannot be aligned. */
  step(number, picture, landmarks) {
    const map = cropMap(landmarks, this.size);
    if (!map) return false;
    const crop = square(picture, map, this.size, { beyond: "mirrored" });
    const local = landmarks.map((point) => apply(map, point));
    this.now = { number, map, crop, grey: grey(crop, this.size, GRID), mask: this._maskOf(local) };
    return true;
  }

  /** Take what the restorer made of the face as it stood in a frame. */
  take(shown, restored) {
    const added = addedDetail(shown.crop, restored, shown.mask, this.size, scaleOf(shown.map));
    this._details = [{ source: shown, added, share: 0, flow: null }, ...this._details.slice(0, 1)];
    this.restoredAt = shown.number;
  }

  /**
   * What is to be added to the newest frame.
   * @param {number} strength 0 to 1
   * @returns {object[]} for addTo
   */
  changes(strength) {
    const [newest, former] = this._details;
    if (!newest) return [];
    newest.share = Math.min(1, newest.share + 1 / FADE);
    if (newest.share === 1) this._details.length = 1;
    const shares = former && newest.share < 1 ? [newest.share, former.share * (1 - newest.share)] : [newest.share];
    return shares.map((share, i) => this._change(this._details[i], share * strength));
  }

  _change(detail, share) {
    const { source, added } = detail;
    const { map, mask, grey: now, number } = this.now;
    if (source.number === number) {
      const still = new Float32Array(GRID * GRID);
      return { map, size: this.size, detail: added, flow: { u: still, v: still }, weight: mask.map((v) => v * share) };
    }
    detail.flow = flowBetween(now, source.grey, detail.flow);
    const believed = trust(now, source.grey, detail.flow);
    return { map, size: this.size, detail: added, flow: detail.flow, weight: believed.map((v, at) => v * mask[at] * share) };
  }

  _maskOf(landmarks) {
    const moved = this._drawnFor?.some(([x, y], i) => Math.hypot(x - landmarks[i][0], y - landmarks[i][1]) > SAME_MASK);
    if (moved !== false) {
      this._drawnFor = landmarks;
      this._mask = softMask(landmarks, this.size);
    }
    return this._mask;
  }
}
