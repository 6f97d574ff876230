// What every serving process counted last, and those before it in its place: a death takes nothing out of the sums, which would
// look like a counter that began anew.
import { addedFigures, addedJournal, type Figures, isOfSame } from './figures.ts';

/** Processes are named by their places. */
export class FiguresLedger {
  readonly #latest = new Map<number, Figures>();
  #former: Figures = { versions: [], journal: { failedWrites: 0, lostRecords: 0, pendingRecords: 0 } };

  heard(process: number, figures: Figures): void {
    this.#latest.set(process, figures);
  }

  /** Its counts are those of a former one from now on. */
  died(process: number): void {
    const last = this.#latest.get(process);
    this.#latest.delete(process);
    if (last === undefined) return;
    const versions = [...this.#former.versions];
    for (const each of last.versions) {
      const ended = { ...each, depth: 0 };
      const place = versions.findIndex((other) => isOfSame(other, each));
      const before = versions[place];
      if (before === undefined) versions.push(ended);
      else versions[place] = addedFigures(before, ended);
    }
    const journal = addedJournal(this.#former.journal, { ...last.journal, pendingRecords: 0 });
    this.#former = { versions, journal };
  }

  /** Of all but this process. A version that nobody holds any more begins at 0 when it comes back. */
  othersOf(process: number): Figures[] {
    const held = [...this.#latest.values()].flatMap(({ versions }) => versions);
    const versions = this.#former.versions.filter((each) => held.some((other) => isOfSame(other, each)));
    this.#former = { ...this.#former, versions };
    return [this.#former, ...[...this.#latest].filter(([place]) => place !== process).map(([, figures]) => figures)];
  }
}
