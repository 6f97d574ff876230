// Variants as they are said on the command line, put into the manifest that is sent. What is wrong with them, the server says.
import { AppError } from '@edgeloop/shared/errors';
import { plainVariant } from '@edgeloop/shared/variants';

export interface VariantOptions {
  /** `NAME=FILE`. */
  variant: string[];
  /** `NAME:WHAT=VALUE,…`. */
  require: string[];
  select?: string;
}

interface GivenVariants {
  files: { name: string; file: string }[];
  /** By variant. */
  requires: Map<string, Record<string, unknown>>;
  select: string | undefined;
}

const lists = ['arch', 'platform', 'cpuFeatures'];
const numbers = ['memoryMb', 'cpus'];

/** For an option that may be given again. */
export function gathered(value: string, former: string[]): string[] {
  return [...former, value];
}

export function givenVariants({ variant, require, select }: VariantOptions): GivenVariants {
  const files = variant.map((text) => {
    const [name, file] = parted(text, '=', '--variant', 'NAME=FILE');
    return { name, file };
  });
  const requires: GivenVariants['requires'] = new Map();
  for (const text of require) {
    const [name, all] = parted(text, ':', '--require', 'NAME:arch=arm64,memoryMb=512');
    const own = requires.get(name) ?? {};
    for (const each of all.split(',')) {
      const [what, value] = parted(each, '=', '--require', `${name}:arch=arm64,memoryMb=512`);
      own[what] = parsedValue(what, value);
    }
    requires.set(name, own);
  }
  return { files, requires, select };
}

/** The manifest with what was given beside it. Variants that it does not name come behind those that it does. */
export async function withVariants(manifest: Blob | undefined, given: GivenVariants): Promise<Blob | undefined> {
  if (given.files.length === 0 && given.requires.size === 0 && given.select === undefined) return manifest;
  const said: unknown = manifest === undefined ? {} : jsonOf(await manifest.text());
  // No manifest at all: the server says so.
  if (!isRecord(said)) return manifest;
  const { variants: named = [] } = said;
  if (!Array.isArray(named)) return manifest;
  const known = named.filter(isRecord);
  const names = [...given.files.map(({ name }) => name), ...given.requires.keys()];
  const fresh = [...new Set(names)].filter((name) => !known.some((each) => each.name === name));
  // The plain file is last unless the manifest says otherwise: it is what is left when nothing fits.
  fresh.sort((a, b) => Number(a === plainVariant) - Number(b === plainVariant));
  const variants = [...known, ...fresh.map((name) => ({ name }))].map((each) => {
    const requires = given.requires.get(String(each.name));
    return requires === undefined ? each : { ...each, requires };
  });
  const select = given.select === undefined ? {} : { select: given.select };
  return new Blob([JSON.stringify({ ...said, ...(variants.length === 0 ? {} : { variants }), ...select })]);
}

function parsedValue(what: string, value: string): unknown {
  if (lists.includes(what)) return value.split('|');
  return numbers.includes(what) ? Number(value) : value;
}

function parted(text: string, by: string, option: string, example: string): [string, string] {
  const at = text.indexOf(by);
  if (at > 0 && at < text.length - by.length) return [text.slice(0, at), text.slice(at + by.length)];
  throw new AppError('invalid_request', `${option} ${text}: is said as ${example}`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
