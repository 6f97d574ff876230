// What is on its way in a ring, by its sequence number: an array with the ring's own places. A Map would do, but one that
// is filled and emptied for each request leaves a chain of outgrown tables to the garbage collector, each holding on to
// requests that are long answered (a third of the HTTP thread's time, as measured).

export interface Flights<T> {
  /** The place must be free: a ring never holds two sequences that share one. */
  set(sequence: number, entry: T): void;
  get(sequence: number): T | undefined;
  /** Removes and gives it. */
  take(sequence: number): T | undefined;
  entries(): [sequence: number, entry: T][];
  count(): number;
  clear(): void;
}

/** `places` must be a power of two. */
export function createFlights<T>(places: number): Flights<T> {
  const flights = new Array<{ sequence: number; entry: T } | undefined>(places).fill(undefined);
  const placeOf = (sequence: number): number => sequence & (places - 1);
  let count = 0;

  const get = (sequence: number): T | undefined => {
    const flight = flights[placeOf(sequence)];
    return flight?.sequence === sequence ? flight.entry : undefined;
  };

  return {
    set(sequence, entry) {
      flights[placeOf(sequence)] = { sequence, entry };
      count++;
    },
    get,
    take(sequence) {
      const entry = get(sequence);
      if (entry === undefined) return undefined;
      flights[placeOf(sequence)] = undefined;
      count--;
      return entry;
    },
    entries: () => flights.flatMap((flight) => (flight ? [[flight.sequence, flight.entry]] : [])),
    count: () => count,
    clear() {
      flights.fill(undefined);
      count = 0;
    },
  };
}
