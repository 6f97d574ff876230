// Instants at which something is to be looked at again, the earliest first: a binary heap. What has changed meanwhile stays in
// it until its time comes, and is looked at once for nothing.
export class Due {
  readonly #heap: { at: number; id: string }[] = [];

  add(at: number, id: string): void {
    const heap = this.#heap;
    let i = heap.push({ at, id }) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!this.#swapIfEarlier(i, parent)) return;
      i = parent;
    }
  }

  /** Takes what is due at `now`. */
  *take(now: number): Generator<string> {
    for (let first = this.#heap[0]; first !== undefined && first.at <= now; first = this.#heap[0]) {
      const last = this.#heap.pop();
      if (this.#heap.length > 0 && last !== undefined) {
        this.#heap[0] = last;
        this.#sink();
      }
      yield first.id;
    }
  }

  #sink(): void {
    let i = 0;
    for (;;) {
      const left = 2 * i + 1;
      const right = left + 1;
      const earlier = this.#at(right) < this.#at(left) ? right : left;
      if (earlier >= this.#heap.length || !this.#swapIfEarlier(earlier, i)) return;
      i = earlier;
    }
  }

  #at(i: number): number {
    return this.#heap[i]?.at ?? Number.POSITIVE_INFINITY;
  }

  #swapIfEarlier(i: number, parent: number): boolean {
    const one = this.#heap[i];
    const other = this.#heap[parent];
    if (one === undefined || other === undefined || one.at >= other.at) return false;
    this.#heap[i] = other;
    this.#heap[parent] = one;
    return true;
  }
}
