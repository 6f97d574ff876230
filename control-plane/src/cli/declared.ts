// What a folder of files declares, and how it differs from what the server has. Pure but for the reading of the files.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import { AlertRuleSpec, RuleId } from '@edgeloop/shared/api/alert-rules';
import { ChannelSpec } from '@edgeloop/shared/api/channels';
import { PipelineSpec } from '@edgeloop/shared/api/training';
import { AppError, messageOf, parse } from '@edgeloop/shared/errors';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';

const kinds = ['Channel', 'AlertRule', 'Pipeline'] as const;
const Declared = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('Channel'), spec: ChannelSpec }),
  z.strictObject({ kind: z.literal('AlertRule'), id: RuleId, spec: AlertRuleSpec }),
  z.strictObject({ kind: z.literal('Pipeline'), spec: PipelineSpec }),
]);
/** One resource of a file. */
export type Declared = z.infer<typeof Declared>;
export type DeclaredKind = Declared['kind'];

export interface Change {
  declared: Declared;
  name: string;
  what: 'create' | 'change' | 'none';
  fields: { field: string; before: unknown; after: unknown }[];
}

const formats = ['.json', '.yaml', '.yml'];

/**
 * Everything that a file, or a folder and those in it, declares, in the order in which it can be applied: what is named before what
 * names it. A file holds one resource, an array of them, or several YAML documents.
 * @throws AppError `invalid_request` naming the file and the field
 */
export function readDeclared(path: string): Declared[] {
  const files = filesOf(path);
  if (files.length === 0)
    throw new AppError('invalid_request', `${path}: there is no file ending with ${formats.join(', ')}`);
  const found = new Map<string, { file: string; declared: Declared }>();
  for (const file of files) {
    for (const [i, value] of resourcesOf(file).entries()) {
      const declared = parse(Declared, value, `${file}, resource ${i + 1}`);
      const key = `${declared.kind} ${nameOf(declared)}`;
      const other = found.get(key);
      if (other !== undefined)
        throw new AppError('invalid_request', `${file}: ${key} is declared in ${other.file}, too`);
      found.set(key, { file, declared });
    }
  }
  const all = [...found.values()].map(({ declared }) => declared);
  return all.sort((a, b) => kinds.indexOf(a.kind) - kinds.indexOf(b.kind));
}

export function nameOf(declared: Declared): string {
  return declared.kind === 'AlertRule' ? declared.id : declared.spec.name;
}

/** `present`: the spec that the server has, undefined where it has none. What the server does not show, as passwords, is not compared. */
export function changeOf(declared: Declared, present: object | undefined): Change {
  const name = nameOf(declared);
  if (present === undefined) return { declared, name, what: 'create', fields: [] };
  const hidden = declared.kind === 'Channel' ? new Set(['smtp.password']) : new Set<string>();
  const before = leavesOf(present);
  const after = leavesOf(declared.spec);
  const fields = [...new Set([...before.keys(), ...after.keys()])]
    .sort()
    .filter((field) => !hidden.has(field) && before.get(field) !== after.get(field))
    .map((field) => ({ field, before: valueAt(before.get(field)), after: valueAt(after.get(field)) }));
  return { declared, name, what: fields.length === 0 ? 'none' : 'change', fields };
}

function filesOf(path: string): string[] {
  try {
    if (!statSync(path).isDirectory()) return [path];
    const entries = readdirSync(path, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile() && formats.includes(extname(entry.name)))
      .map((entry) => join(entry.parentPath, entry.name))
      .sort();
  } catch (cause) {
    throw new AppError('invalid_request', `cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
}

function resourcesOf(file: string): unknown[] {
  // JSON is YAML, too.
  const documents = parseAllDocuments(readFileSync(file, 'utf8'));
  return [...documents].flatMap((document) => {
    const [error] = document.errors;
    if (error !== undefined) throw new AppError('invalid_request', `${file}: ${error.message.split('\n')[0]}`);
    // Aliases that name each other many times over could become any size.
    const value: unknown = document.toJS({ maxAliasCount: 100 });
    return value === null ? [] : [value].flat();
  });
}

/** Values by their dotted path, as JSON; what is undefined is not there. */
function leavesOf(value: unknown, path = ''): Map<string, string> {
  if (value === undefined) return new Map();
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    return new Map([[path, JSON.stringify(value)]]);
  const leaves = Object.entries(value).map(([key, each]) => leavesOf(each, path === '' ? key : `${path}.${key}`));
  return new Map(leaves.flatMap((each) => [...each]));
}

function valueAt(json: string | undefined): unknown {
  return json === undefined ? undefined : JSON.parse(json);
}
