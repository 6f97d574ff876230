// What a file is. The label comes from its name, as its author gave it, and the bytes must not contradict it; the model
// sees bytes only.

/** The classes, in the order of the model's scores. */
export const classes = ['JavaScript', 'TypeScript', 'JSON', 'source map', 'Markdown', 'plain text', 'YAML'] as const;
export type FileClass = (typeof classes)[number];

/**
 * How a file came about. `library`: what packages usually hold: readable modules, declarations, documents.
 * `minified bundle` and `TypeScript source` carry a label of the same set and look different.
 */
export type FileKind = 'library' | 'minified bundle' | 'TypeScript source';

interface FileLabel {
  label: FileClass;
  kind: FileKind;
}

const BY_NAME: readonly (readonly [RegExp, FileClass])[] = [
  [/\.map$/, 'source map'],
  [/\.[cm]?tsx?$/, 'TypeScript'],
  [/\.[cm]?js$/, 'JavaScript'],
  [/\.json$/, 'JSON'],
  [/\.(md|markdown)$/, 'Markdown'],
  [/\.ya?ml$/, 'YAML'],
  [/(^|\/)(licen[sc]e|notice|copying)(-[^/.]*)?$|\.txt$/, 'plain text'],
];

/** Lines of readable code stay far below this many bytes on average, lines of minified code far above. */
const MINIFIED_LINE_BYTES = 200;

/** The class that a name stands for, or nothing for names that are none of the classes. */
export function classOfName(path: string): FileClass | undefined {
  const name = path.toLowerCase();
  return BY_NAME.find(([pattern]) => pattern.test(name))?.[1];
}

/** Label and kind of a file by its path and its first bytes; nothing if it is none of the classes, or not text. */
export function labelOf(path: string, bytes: Uint8Array): FileLabel | undefined {
  const label = classOfName(path);
  if (label === undefined || bytes.includes(0)) return undefined;
  if ((label === 'source map' || label === 'JSON') && !opensAsJson(bytes)) return undefined;
  return { label, kind: kindOf(label, path, bytes) };
}

function kindOf(label: FileClass, path: string, bytes: Uint8Array): FileKind {
  if (label === 'TypeScript') return /\.d\.[cm]?ts$/i.test(path) ? 'library' : 'TypeScript source';
  if (label !== 'JavaScript') return 'library';
  const lines = bytes.reduce((count, byte) => count + Number(byte === 0x0a), 1);
  return bytes.length / lines > MINIFIED_LINE_BYTES ? 'minified bundle' : 'library';
}

function opensAsJson(bytes: Uint8Array): boolean {
  const first = bytes.find((byte) => byte > 0x20 && byte < 0x80);
  // A slash opens the comment that tool settings may start with.
  return first === 0x7b || first === 0x5b || first === 0x2f;
}
