// Files that are read and written at once: the same calls on the same real files, without the threads whose order nobody knows. What
// a disk does to a program that writes happens here, and a program may end before any of its calls.
import fs, { type Stats } from 'node:fs';
import fsPromises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { Readable } from 'node:stream';
import type { VirtualTime } from './virtual-time.ts';

/** Asked before each call of a program; it may throw what a disk says, or end the program's life. */
export type BeforeFile = (call: string, writes: boolean) => void;

class OpenFile {
  readonly #descriptor: number;
  readonly #files: FilesAtOnce;

  constructor(descriptor: number, files: FilesAtOnce) {
    this.#descriptor = descriptor;
    this.#files = files;
  }

  stat(): Promise<Stats> {
    return this.#files.do('stat', false, () => fs.fstatSync(this.#descriptor));
  }

  read(buffer: Buffer, offset: number, length: number, position: number) {
    return this.#files.do('read', false, () => {
      const bytesRead = fs.readSync(this.#descriptor, buffer, offset, length, position);
      return { bytesRead, buffer };
    });
  }

  write(buffer: Uint8Array, offset?: number, length?: number, position?: number) {
    return this.#files.do('write', true, () => fs.writeSync(this.#descriptor, buffer, offset, length, position));
  }

  writeFile(content: string | Uint8Array): Promise<void> {
    return this.#files.do('write', true, () => fs.writeFileSync(this.#descriptor, content));
  }

  truncate(length: number): Promise<void> {
    return this.#files.do('truncate', true, () => fs.ftruncateSync(this.#descriptor, length));
  }

  /** In memory there is nothing to sync; a program may end here as well. */
  sync(): Promise<void> {
    return this.#files.do('sync', false, () => undefined);
  }

  async close(): Promise<void> {
    fs.closeSync(this.#descriptor);
  }
}

export class FilesAtOnce {
  readonly #time: VirtualTime;
  /** By the name of a life. */
  readonly before = new Map<string, BeforeFile>();

  constructor(time: VirtualTime) {
    this.#time = time;
  }

  /** Never settles for a program that has ended. */
  async do<T>(call: string, writes: boolean, work: () => T): Promise<T> {
    const life = this.#time.running;
    if (life.alive) this.before.get(life.name)?.(call, writes);
    if (!life.alive) return new Promise(() => undefined);
    return work();
  }

  /** Puts these in the place of Node's; gives what takes them back. */
  install(): () => void {
    const former = { ...fsPromises };
    const stream = fs.createReadStream;
    const plain = (name: keyof typeof calls, writes = false) => {
      const call: (...given: never[]) => unknown = calls[name];
      return (...given: never[]) => this.do(name, writes, () => call(...given));
    };
    Object.assign(fsPromises, {
      mkdir: plain('mkdir', true),
      open: (path: string, flags: string, mode?: number) =>
        this.do('open', flags !== 'r', () => new OpenFile(fs.openSync(path, flags, mode), this)),
      readdir: plain('readdir'),
      readFile: plain('readFile'),
      rename: plain('rename'),
      rm: plain('rm'),
      stat: plain('stat'),
      statfs: plain('statfs'),
      writeFile: plain('writeFile', true),
    });
    const pieces = async function* (this: FilesAtOnce, path: string) {
      yield await this.do('readFile', false, () => fs.readFileSync(path));
    }.bind(this);
    Object.assign(fs, { createReadStream: (path: string) => Readable.from(pieces(path)) });
    syncBuiltinESMExports();
    return () => {
      Object.assign(fsPromises, former);
      Object.assign(fs, { createReadStream: stream });
      syncBuiltinESMExports();
    };
  }
}

const calls = {
  mkdir: fs.mkdirSync,
  readdir: fs.readdirSync,
  readFile: fs.readFileSync,
  rename: fs.renameSync,
  rm: fs.rmSync,
  stat: fs.statSync,
  statfs: fs.statfsSync,
  writeFile: fs.writeFileSync,
};
