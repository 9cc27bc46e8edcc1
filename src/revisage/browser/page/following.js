/** Whose the faces of a frame are, told from the past alone: each is looked for where it was in the frame before. */

import { CarriedFace } from "./carrying.js";
import { overlap } from "./detection.js";

/** A face is restored from its third sighting on, comes and goes over five frames, and is forgotten after eight. */
const SIGHTINGS = 3;
const FADE = 5;
const LAPSE = 8;
const SAME = 0.4;

/** Frames whose landmarks are averaged where a face is still, and the move (parts of its size) that counts as one. */
const REMEMBERED = 6;
const MOVED = 0.015;

class Person {
  constructor(face, size) {
    this.carried = new CarriedFace(size);
    this.sightings = 0;
    this.missed = 0;
    this.shown = 0;
    this._past = [];
    this.see(face);
  }

  see(face) {
    this.face = face;
    this.sightings += 1;
    this.missed = 0;
    this._past = [...this._past.slice(1 - REMEMBERED), face.landmarks];
    this.landmarks = this._steady();
  }

  get size() {
    const [left, top, right, bottom] = this.face.box;
    return Math.max(right - left, bottom - top);
  }

  /** Fade in or out by one step. */
  settle() {
    const comes = !this.missed && this.sightings >= SIGHTINGS;
    this.shown = comes ? Math.min(1, this.shown + 1 / FADE) : Math.max(0, this.shown - 1 / FADE);
  }

  /** The newest landmarks averaged with those before that lie near them: detection is unsure by a part of a pixel. */
  _steady() {
    const newest = this._past.at(-1);
    const sigma = MOVED * this.size;
    const weights = this._past.map((past) => Math.exp(-meanSquare(past, newest) / (2 * sigma * sigma)));
    const sum = weights.reduce((one, other) => one + other, 0);
    return newest.map((_, i) =>
      [0, 1].map((axis) => this._past.reduce((mean, past, j) => mean + (weights[j] / sum) * past[i][axis], 0)),
    );
  }
}

function meanSquare(one, other) {
  return one.reduce((sum, [x, y], i) => sum + (x - other[i][0]) ** 2 + (y - other[i][1]) ** 2, 0) / one.length;
}

export class FollowedFaces {
  /** @param {import("./detection.js").CloserLook} look */
  constructor(look, size) {
    this._look = look;
    this._size = size;
    this._found = [];
    this.people = [];
    this.lost = false;
  }

  /** Whether faces are followed and none was lost since the last search. */
  get settled() {
    return this.people.length > 0 && !this.lost;
  }

  /** Look from now on for these faces too, which a search found. */
  offer(found) {
    this._found = found.filter(({ box }) => this.people.every((person) => overlap(person.face.box, box) < SAME));
    this.lost = false;
  }

  /** The faces of the next frame, the largest first; at most so many. */
  async follow(picture, most) {
    const expected = [...this.people.map((person) => person.face), ...this._found];
    const seen = await this._look.at(picture, expected);
    seen.forEach((face, i) => {
      const person = this.people[i];
      const holds = face.score >= (person ? this._look.lowThreshold : this._look.threshold) && lies(face, picture);
      if (person && holds) person.see(face);
      else if (person) this._miss(person);
      else if (holds) this.people.push(new Person(face, this._size));
    });
    this._found = [];
    this.people = withoutDoubles(this.people.filter((person) => person.missed <= LAPSE));
    this.people.forEach((person) => person.settle());
    const shown = this.people.filter((person) => person.shown > 0);
    return shown.sort((one, other) => other.size - one.size).slice(0, most);
  }

  _miss(person) {
    person.missed += 1;
    this.lost ||= person.missed === 1;
  }
}

/** Whether the middle of a face lies in the picture. */
function lies({ box: [left, top, right, bottom] }, { width, height }) {
  const [x, y] = [(left + right) / 2, (top + bottom) / 2];
  return x >= 0 && y >= 0 && x < width && y < height;
}

/** Two that came to follow one face are one: the one that was there first. */
function withoutDoubles(people) {
  const kept = [];
  for (const person of people) {
    if (kept.every((other) => overlap(other.face.box, person.face.box) < SAME)) kept.push(person);
  }
  return kept;
}
