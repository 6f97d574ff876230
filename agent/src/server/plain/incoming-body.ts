// The body of one request while it comes in, in memory of its own length.
import type { AppError } from '@edgeloop/shared/errors';
import type { Hold } from '../body-memory.ts';

export class IncomingBody {
  /** Its bytes when they are all there, or why they can't be. */
  readonly whole: Promise<Buffer | AppError>;
  readonly #room: Buffer;
  readonly #hold: Hold;
  #filled = 0;
  #resolve: (whole: Buffer | AppError) => void = () => undefined;

  /** `room` is as long as the body. */
  constructor(room: Buffer, hold: Hold) {
    this.#room = room;
    this.#hold = hold;
    this.whole = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  /** Takes bytes, which are not more than are missing. Throws what the memory of requests throws. */
  add(bytes: Buffer): void {
    this.#hold.take(bytes.length);
    bytes.copy(this.#room, this.#filled);
    this.#filled += bytes.length;
    if (this.#filled === this.#room.length) this.#resolve(this.#room);
  }

  fail(error: AppError): void {
    this.#resolve(error);
  }
}
