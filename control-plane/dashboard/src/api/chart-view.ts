// Of which devices all charts are, and by what their series are told apart; one choice for the whole page, kept from page to page.
import type { GroupBy } from '@edgeloop/shared/api/metrics';
import { messageOf } from '@edgeloop/shared/errors';
import { parseSelector } from '@edgeloop/shared/selector';
import { signal } from '@preact/signals';
import type { MetricRequest } from './metrics.ts';

/** As it is typed, also while it is no selector yet. */
export const selectorText = signal('');
/** Undefined: as the page tells them apart by itself. */
export const chosenGroup = signal<GroupBy | undefined>(undefined);

/** What is wrong with the text; empty while it can be asked with. */
export function selectorProblem(text: string): string {
  try {
    parseSelector(text);
    return '';
  } catch (error) {
    return messageOf(error);
  }
}

/** A request as it is asked under the choice. Drift is judged over the fleet and knows no devices. */
export function underChoice(request: MetricRequest, { text, group }: { text: string; group: GroupBy | undefined }) {
  if (request.metric === 'drift') return request;
  const selector = text.trim() === '' || selectorProblem(text) !== '' ? undefined : text.trim();
  return { ...request, selector, groupBy: group ?? request.groupBy };
}
