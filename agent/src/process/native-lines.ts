// What native code writes to stderr, ONNX Runtime above all, as lines of the structured log. Our own lines do not come this
// way: they go to the log at once, also those of a process that dies.
import type { Readable } from 'node:stream';
import type { Logger } from 'pino';

/** A longer line is cut there. */
const lineAtMost = 16 * 1024;
// biome-ignore lint/suspicious/noControlCharactersInRegex: colours begin with one
const colours = /\u001b\[[0-9;]*m/g;
/** `2026-11-27 12:00:00.123456789 [W:onnxruntime:session, file.cc:12 function] words`. */
const runtimeLine = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \[([VIWEF]):onnxruntime:[^,\]]*, ([^\]]*)\] (.*)$/s;
const levels = { V: 'debug', I: 'info', W: 'warn', E: 'error', F: 'error' } as const;

export interface NativeLine {
  level: 'debug' | 'info' | 'warn' | 'error';
  source: 'onnxruntime' | 'stderr';
  /** File, line and function that ONNX Runtime names. */
  where?: string;
  words: string;
}

/** What one line says; undefined for an empty one. */
export function readNativeLine(text: string): NativeLine | undefined {
  const line = text.replaceAll(colours, '').trimEnd();
  if (line === '') return undefined;
  const [, letter, where, words] = runtimeLine.exec(line) ?? [];
  if (letter === undefined || where === undefined || words === undefined)
    return { level: 'warn', source: 'stderr', words: line };
  return { level: isLevel(letter) ? levels[letter] : 'warn', source: 'onnxruntime', where, words };
}

function isLevel(letter: string): letter is keyof typeof levels {
  return Object.hasOwn(levels, letter);
}

/** Logs every line of the stream until it ends. */
export function logNativeLines(stream: Readable, log: Logger): void {
  let rest = '';
  const tell = (text: string): void => {
    const line = readNativeLine(text);
    if (line === undefined) return;
    const { level, words, ...fields } = line;
    log[level](fields, words);
  };
  stream.setEncoding('utf8');
  stream.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) tell(line.slice(0, lineAtMost));
    if (rest.length < lineAtMost) return;
    tell(rest.slice(0, lineAtMost));
    rest = '';
  });
  stream.on('end', () => tell(rest));
  stream.on('error', (error) => log.debug({ reason: error.message }, 'stderr of the serving process ended'));
}
