// The end of what a process wrote to stderr, for those who ask why it died: little of it, and without what is meant for nobody.
import type { Readable } from 'node:stream';

const charactersKept = 400;
/** What is looked through for secrets: one may begin before the part that is told. */
const charactersRead = 16 * 1024;

// biome-ignore lint/suspicious/noControlCharactersInRegex: colours begin with one
const colours = /\u001b\[[0-9;]*[A-Za-z]/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: what no line of text has
const unprintable = /[\u0000-\u0008\u000b-\u001f\u007f]/g;
const left = '[left out]';
const secrets: readonly [RegExp, string][] = [
  [/-----BEGIN [A-Z ]+-----[\s\S]*?(?:-----END [A-Z ]+-----|$)/g, left],
  // Its beginning may be gone.
  [/^[\s\S]*?-----END [A-Z ]+-----/, left],
  [/(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/@]+@/gi, `$1${left}@`],
  // The query of an address may be a signature.
  [/(\b[a-z][a-z0-9+.-]*:\/\/[^\s?]+\?)\S+/gi, `$1${left}`],
  [/\b(bearer|basic)\s+[\w.~+/=-]{8,}/gi, `$1 ${left}`],
  [
    /(["']?[\w-]*(?:secret|token|passw(?:or)?d|api[-_]?key|access[-_]?key|private[-_]?key|authorization|credential)[\w-]*["']?\s*[=:]\s*)(?:"[^"\n]*"|'[^'\n]*'|[^\s,;]+)/gi,
    `$1${left}`,
  ],
  [/\bedgeloop-join-[\w-]+/g, left],
  [/\beyJ[\w-]{8,}(?:\.[\w-]+)*/g, left],
  // As random as only a key is: our own are 43 characters of base64url.
  [/(?<![\w+-])(?=[\w+-]*[a-z])(?=[\w+-]*[A-Z])(?=[\w+-]*\d)(?!_{1,2}Z)[\w+-]{40,}=*/g, left],
];

/** Without what looks like a key, a password or a token. */
export function withoutSecrets(text: string): string {
  return secrets.reduce((rest, [pattern, instead]) => rest.replace(pattern, instead), text);
}

/** The last lines of a text, on one line. */
export function lastWordsOf(text: string): string {
  const lines = withoutSecrets(text.replace(colours, '').replaceAll('\r', '\n').replace(unprintable, ' '))
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const words = lines.join(' | ');
  return words.length <= charactersKept ? words : `…${words.slice(-charactersKept)}`;
}

export interface LastWords {
  /** What has come so far. */
  now(): string;
  /** All of it: waits for the end of the stream, though not for long, since another process may hold it open. */
  whole(): Promise<string>;
}

const patienceMs = 200;

export function listenForLastWords(stream: Readable | null): LastWords {
  let tail = '';
  stream?.setEncoding('utf8').on('data', (text: string) => {
    tail = (tail + text).slice(-charactersRead);
  });
  const now = () => lastWordsOf(tail);
  return {
    now,
    async whole() {
      if (stream !== null && !stream.readableEnded && !stream.destroyed)
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, patienceMs);
          const ended = () => {
            clearTimeout(timer);
            resolve();
          };
          stream.once('end', ended).once('close', ended);
        });
      return now();
    },
  };
}

/** How it ended, and its last words. */
export function withLastWords(how: string, words: string): string {
  return words === '' ? how : `${how}: ${words}`;
}
