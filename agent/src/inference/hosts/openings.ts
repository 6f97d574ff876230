// Models that a worker was told to load or to let go, and has not answered for yet: the same for threads and processes.
import { AppError } from '@edgeloop/shared/errors';
import type { OpenedModel, OpeningAnswer } from '../worker/messages.ts';

export interface Openings {
  /** Settles with the answer. Rejects with what the worker refused it for. */
  open(id: number): Promise<OpenedModel>;
  close(id: number): Promise<void>;
  answer(answer: OpeningAnswer): void;
  /** The worker is gone: nothing more will be loaded, and all is let go. */
  abandon(error: AppError): void;
}

export function createOpenings(): Openings {
  const opening = new Map<number, { resolve(model: OpenedModel): void; reject(error: AppError): void }>();
  const closing = new Map<number, () => void>();
  return {
    open: (id) => new Promise((resolve, reject) => opening.set(id, { resolve, reject })),
    close: (id) => new Promise((resolve) => closing.set(id, resolve)),
    answer(answer) {
      switch (answer.kind) {
        case 'opened':
          opening.get(answer.id)?.resolve(answer.model);
          opening.delete(answer.id);
          return;
        case 'refused':
          opening.get(answer.id)?.reject(new AppError(answer.failure.code, answer.failure.message));
          opening.delete(answer.id);
          return;
        case 'closed':
          closing.get(answer.id)?.();
          closing.delete(answer.id);
      }
    },
    abandon(error) {
      for (const { reject } of opening.values()) reject(error);
      for (const resolve of closing.values()) resolve();
      opening.clear();
      closing.clear();
    },
  };
}
