// One surprise is told once: while a series stays strange, only what is stranger than what was told lately is told again.

export class Episodes {
  readonly #length: number;
  #told = { at: Number.NEGATIVE_INFINITY, score: 0 };

  /** `length`: of an episode at most, in steps of the series. */
  constructor(length: number) {
    this.#length = length;
  }

  /** Whether a score at this place is news; if so it counts as told. */
  isNews(at: number, score: number): boolean {
    const isOver = at - this.#told.at > this.#length;
    if (!isOver && score <= this.#told.score) return false;
    this.#told = { at, score };
    return score > 0;
  }
}
