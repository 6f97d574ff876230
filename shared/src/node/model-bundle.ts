// Several files as one, so that a version of several models is fetched, verified, kept and taken back as one file: an
// uncompressed tar (ustar) that any program can unpack. The same files always give the same bytes.
import { createReadStream, createWriteStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { AppError } from '../app-error.ts';
import type { ByteSource } from '../onnx/fields.ts';
import { readFile } from './file-bytes.ts';

export type FileToBundle = { name: string; path: string } | { name: string; bytes: Uint8Array };

export interface BundledFile {
  name: string;
  /** Where its header begins, and its bytes. */
  headerAt: number;
  at: number;
  sizeBytes: number;
}

const block = 512;
const longestName = 100;
const magicAt = 257;
const magic = 'ustar';

/** Writes the bundle at `path`. Throws `invalid_request` for names that it cannot hold. */
export async function writeBundle(path: string, files: readonly FileToBundle[]): Promise<void> {
  for (const { name } of files)
    if (Buffer.byteLength(name) > longestName)
      throw new AppError('invalid_request', `the file name "${name}" is too long`);
  await pipeline(Readable.from(pieces(files)), createWriteStream(path, { mode: 0o600 }));
}

async function* pieces(files: readonly FileToBundle[]): AsyncGenerator<Uint8Array> {
  for (const file of files) {
    const size = 'path' in file ? (await stat(file.path)).size : file.bytes.length;
    yield header(file.name, size);
    if ('path' in file) yield* createReadStream(file.path);
    else yield file.bytes;
    yield Buffer.alloc(padding(size));
  }
  yield Buffer.alloc(2 * block);
}

function padding(size: number): number {
  return (block - (size % block)) % block;
}

/** Of a plain file that everybody may read, of nobody and no time. */
function header(name: string, size: number): Buffer {
  const bytes = Buffer.alloc(block);
  const octal = (value: number, length: number): string => `${value.toString(8).padStart(length - 1, '0')}\0`;
  bytes.write(name, 0);
  bytes.write(octal(0o644, 8), 100);
  bytes.write(octal(0, 8), 108);
  bytes.write(octal(0, 8), 116);
  bytes.write(octal(size, 12), 124);
  bytes.write(octal(0, 12), 136);
  bytes.write('0', 156);
  bytes.write(`${magic}\0${'00'}`, magicAt);
  bytes.write(`${octal(checksum(bytes), 7)} `, 148);
  return bytes;
}

/** Of all bytes, with blanks in the place of the sum itself. */
function checksum(bytes: Uint8Array): number {
  return bytes.reduce((sum, byte, at) => sum + (at >= 148 && at < 156 ? 0x20 : byte), 0);
}

/** What the file at `path` holds; undefined when it is no bundle. Throws `model_rejected` for one that is damaged. */
export function bundledFiles(path: string): BundledFile[] | undefined {
  return readFile(path, bundledIn);
}

/** The same of a file that is open. */
export function bundledIn(source: ByteSource): BundledFile[] | undefined {
  const isBundle = source.size >= block && textIn(source.read(0, block), magicAt, magic.length) === magic;
  if (!isBundle) return undefined;
  const files: BundledFile[] = [];
  for (let headerAt = 0; headerAt + block <= source.size; ) {
    const bytes = source.read(headerAt, block);
    if (bytes.every((byte) => byte === 0)) return files;
    const sum = Number.parseInt(textIn(bytes, 148, 8), 8);
    const sizeBytes = Number.parseInt(textIn(bytes, 124, 12), 8);
    const at = headerAt + block;
    if (sum !== checksum(bytes) || !(at + sizeBytes <= source.size)) break;
    files.push({ name: textIn(bytes, 0, longestName), headerAt, at, sizeBytes });
    headerAt = at + sizeBytes + padding(sizeBytes);
  }
  throw new AppError('model_rejected', 'the file of several models is damaged');
}

function textIn(bytes: Uint8Array, at: number, length: number): string {
  const text = Buffer.from(bytes.subarray(at, at + length)).toString('utf8');
  const end = text.indexOf('\0');
  return end === -1 ? text : text.slice(0, end);
}

/** The bytes of a file of the bundle, in memory. */
export function readBundled(path: string, { at, sizeBytes }: BundledFile): Uint8Array {
  return readFile(path, (source) => Uint8Array.from(source.read(at, sizeBytes)));
}
