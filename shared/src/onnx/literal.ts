// Class names as exporters write them into a file's metadata: a dictionary or a list as JSON has it or as Python prints it,
// `{0: 'person', 1: "driver's cab"}`. Read by hand: what stands in a file is never run.

const names = /\s*(?:(-?\d+)|'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\s*/y;
/** More classes than any model tells apart. */
const namesAtMost = 65_536;

/** The names by their place, a place without one being its number; undefined for any other text. */
export function readNames(text: string): string[] | undefined {
  const body = text.trim();
  const [open, close] = [body.at(0), body.at(-1)];
  const reader = new LiteralReader(body);
  if (open === '{' && close === '}') return byPlace(reader.dictionary());
  if ((open === '[' && close === ']') || (open === '(' && close === ')')) return filled(reader.list());
  return undefined;
}

class LiteralReader {
  readonly #text: string;
  /** Behind the opening bracket. */
  #at = 1;

  constructor(text: string) {
    this.#text = text;
  }

  dictionary(): [string, string][] | undefined {
    const entries: [string, string][] = [];
    while (!this.#ended()) {
      const key = this.#value();
      if (key === undefined || this.#text[this.#at++] !== ':') return undefined;
      const value = this.#value();
      if (value === undefined || !this.#separated() || entries.push([key, value]) > namesAtMost) return undefined;
    }
    return entries;
  }

  list(): string[] | undefined {
    const values: string[] = [];
    while (!this.#ended()) {
      const value = this.#value();
      if (value === undefined || !this.#separated() || values.push(value) > namesAtMost) return undefined;
    }
    return values;
  }

  /** A comma, or the end without one. */
  #separated(): boolean {
    if (this.#text[this.#at] !== ',') return this.#ended();
    this.#at++;
    return true;
  }

  #ended(): boolean {
    return this.#text.slice(this.#at, -1).trim() === '';
  }

  #value(): string | undefined {
    names.lastIndex = this.#at;
    const found = names.exec(this.#text);
    if (!found) return undefined;
    this.#at = names.lastIndex;
    const [, number, single, double] = found;
    return number ?? unescaped(single ?? double ?? '');
  }
}

const escapes: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', b: '\b', f: '\f' };

function unescaped(text: string): string {
  return text.replace(/\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))/gs, (_, wide, narrow, plain: string) =>
    plain === undefined ? String.fromCharCode(Number.parseInt(wide ?? narrow, 16)) : (escapes[plain] ?? plain),
  );
}

/** Place -> name, or name -> place as some write it. */
function byPlace(entries: readonly [string, string][] | undefined): string[] | undefined {
  if (!entries?.length) return undefined;
  const isPlace = (text: string): boolean => /^\d{1,5}$/.test(text) && Number(text) < namesAtMost;
  const turned = !entries.every(([key]) => isPlace(key));
  if (turned && !entries.every(([, value]) => isPlace(value))) return undefined;
  const found: string[] = [];
  for (const [key, value] of entries) found[Number(turned ? value : key)] = turned ? key : value;
  return filled(found);
}

function filled(found: readonly (string | undefined)[] | undefined): string[] | undefined {
  if (!found?.length) return undefined;
  return Array.from(found, (name, place) => name || String(place));
}
